//! Where the operator is, for commands that plan without being it.

use crate::facts::Installation;
use crate::operator::{CLUSTER_DOMAIN, NAMESPACE};

/// Options of such commands.
#[derive(Debug, clap::Args)]
pub(super) struct Whereabouts {
    /// Namespace of the operator, which the policies of the network name.
    #[arg(long, default_value = NAMESPACE, value_name = "NAMESPACE")]
    pub operator_namespace: String,
    /// Domain of the cluster's own names.
    #[arg(long, default_value = CLUSTER_DOMAIN, value_name = "DOMAIN")]
    cluster_domain: String,
}

impl Whereabouts {
    /// The operator there, with this image.
    pub(super) fn of(&self, image: String) -> Installation {
        Installation {
            image,
            namespace: self.operator_namespace.clone(),
            cluster_domain: self.cluster_domain.clone(),
        }
    }
}
