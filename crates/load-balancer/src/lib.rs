//! load-balancer.
