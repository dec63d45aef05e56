//! The two custom resources and their words.
