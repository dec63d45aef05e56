//! Kubernetes objects to deltas of the world.
