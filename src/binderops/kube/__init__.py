"""What every part uses to talk to Kubernetes: kinds, a client, informers, Events, and helpers for plain objects."""
