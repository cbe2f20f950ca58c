//! Against the operator that is installed in the cluster.

mod smoke;
