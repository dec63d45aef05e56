# shellcheck shell=bash
real_check() { die "not there yet"; }
real_up() { [ "$1" = 0 ] || die "not there yet"; }
real_down() { :; }
