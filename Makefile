# The project's own commands. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CLUSTER := tests/controlplane/cluster.sh

DIR   ?= .run# the folder in which the cluster lives
NODES ?= 30# simulated nodes, a third each of cpu, memory and gpu
REAL  ?= 0# real nodes beside them, as root
GRACE ?= $(if $(filter-out 0,$(REAL)),10s,40s)# a node that is silent this long counts as lost

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- control plane ---------------------------------------------------------------------------------------------

.PHONY: control-plane up down
control-plane: ## provides etcd, Kubernetes and KWOK (KUBEBUILDER_ASSETS=folder, FETCH=1)
	@FETCH=$(FETCH) tests/controlplane/control-plane.sh

up: ## starts a cluster (NODES=30 REAL=0 DIR=.run) and writes DIR/kubeconfig
	@FETCH=$(FETCH) $(CLUSTER) up --dir $(DIR) --nodes $(NODES) --real $(REAL) --node-grace $(GRACE) $(if $(AUDIT),--audit)

down: ## ends what `make up` started
	@$(CLUSTER) down --dir $(DIR)
