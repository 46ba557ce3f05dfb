//! The walk from `curl` to the Pod: the seed's cluster, Deployment and Service, through a port of the machine.
