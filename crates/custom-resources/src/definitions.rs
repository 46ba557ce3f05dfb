//! The CustomResourceDefinitions, and how a cluster gets them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};

/// What is written into a cluster. The texts are part of the program, and a test reads them, so they can always be read.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    TEXTS.iter().filter_map(|text| serde_saphyr::from_str(text).ok()).collect()
}

/// Gives a cluster the definitions, or brings those that it has up to date (server-side apply).
///
/// # Errors
/// What the API says.
pub async fn install(client: &Client) -> kube::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definitions() {
        let how = PatchParams::apply(FIELD_MANAGER).force();
        api.patch(&definition.name_any(), &how, &Patch::Apply(&definition)).await?;
    }
    Ok(())
}

const FIELD_MANAGER: &str = "malla";
const TEXTS: [&str; 4] = [
    include_str!("../definitions/ciliumloadbalancerippools.yaml"),
    include_str!("../definitions/ciliuml2announcementpolicies.yaml"),
    include_str!("../definitions/ciliumidentities.yaml"),
    include_str!("../definitions/ciliumendpointslices.yaml"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CiliumEndpointSlice, CiliumIdentity, CiliumL2AnnouncementPolicy, CiliumLoadBalancerIPPool};
    use kube::Resource;

    #[test]
    fn every_text_is_a_definition_that_serves_its_type() {
        let all = definitions();
        assert_eq!(all.len(), TEXTS.len());
        let served = |name: &str, version: &str| {
            let definition = all.iter().find(|one| one.name_any() == name).expect("a definition");
            definition.spec.versions.iter().any(|one| one.name == version && one.served)
        };
        let pools = format!("{}.cilium.io", CiliumLoadBalancerIPPool::plural(&()));
        assert!(served(&pools, "v2") && served(&pools, "v2alpha1"));
        let policies = format!("{}.cilium.io", CiliumL2AnnouncementPolicy::plural(&()));
        assert!(served(&policies, "v2alpha1"));
        assert!(served(&format!("{}.cilium.io", CiliumIdentity::plural(&())), "v2"));
        assert!(served(&format!("{}.cilium.io", CiliumEndpointSlice::plural(&())), "v2alpha1"));
    }
}
