//! The CustomResourceDefinitions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// What is written into a cluster. The texts are part of the program, and a test reads them, so they can always be read.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    TEXTS.iter().filter_map(|text| serde_saphyr::from_str(text).ok()).collect()
}

/// The definitions that are made from types, as they should stand in `definitions/`.
#[must_use]
pub fn made_from_types() -> Vec<serde_json::Value> {
    let mut all = crate::cilium_policy::definitions().to_vec();
    all.push(crate::cluster_network_policy::definition());
    all
}

const TEXTS: [&str; 8] = [
    include_str!("../definitions/ciliumnetworkpolicies.yaml"),
    include_str!("../definitions/ciliumclusterwidenetworkpolicies.yaml"),
    include_str!("../definitions/ciliumcidrgroups.yaml"),
    include_str!("../definitions/clusternetworkpolicies.yaml"),
    include_str!("../definitions/ciliumloadbalancerippools.yaml"),
    include_str!("../definitions/ciliuml2announcementpolicies.yaml"),
    include_str!("../definitions/ciliumidentities.yaml"),
    include_str!("../definitions/ciliumendpointslices.yaml"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        CiliumClusterwideNetworkPolicy, CiliumEndpointSlice, CiliumIdentity, CiliumL2AnnouncementPolicy,
        CiliumLoadBalancerIPPool, CiliumNetworkPolicy,
    };
    use kube::{Resource, ResourceExt};

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
        assert!(
            served("ciliumnetworkpolicies.cilium.io", "v2")
                && served("ciliumclusterwidenetworkpolicies.cilium.io", "v2")
        );
        assert!(served("ciliumcidrgroups.cilium.io", "v2"));
        assert!(served("clusternetworkpolicies.policy.networking.k8s.io", "v1alpha2"));
        let policies = format!("{}.cilium.io", CiliumL2AnnouncementPolicy::plural(&()));
        assert!(served(&policies, "v2alpha1"));
        assert!(served(&format!("{}.cilium.io", CiliumIdentity::plural(&())), "v2"));
        assert!(served(&format!("{}.cilium.io", CiliumEndpointSlice::plural(&())), "v2alpha1"));
    }
    #[test]
    fn what_is_committed_is_what_the_types_make() {
        let committed: Vec<serde_json::Value> =
            TEXTS.iter().map(|text| serde_saphyr::from_str(text).expect("YAML")).collect();
        for made in made_from_types() {
            let name = made["metadata"]["name"].as_str().unwrap_or_default();
            let there = committed.iter().find(|one| one["metadata"]["name"] == name);
            assert!(there == Some(&made), "{name}: cargo run -p custom-resources --example policies");
        }
    }

    /// Kubernetes' rules for structural schemas (KEP-1111…), as far as a slip could break them.
    #[test]
    fn schemas_are_structural_and_described() {
        fn check(schema: &serde_json::Value, path: &str) {
            let any = schema["x-kubernetes-int-or-string"] == true;
            assert!(schema["type"].is_string() != any, "{path} has one type");
            for word in ["$ref", "nullable", "title", "const", "oneOf", "definitions"] {
                assert!(schema[word].is_null(), "{path} has {word}");
            }
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let below = format!("{path}.{name}");
                let outer = ["apiVersion", "kind", "metadata"].contains(&name.as_str());
                let told = property["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(told || outer || below.contains("conditions.items"), "{below} has no description");
                check(property, &below);
            }
            for inner in ["items", "additionalProperties"].iter().filter(|inner| schema[**inner].is_object()) {
                check(&schema[*inner], &format!("{path}.{inner}"));
            }
        }
        for made in made_from_types() {
            check(
                &made["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
                made["metadata"]["name"].as_str().unwrap(),
            );
        }
    }

    #[test]
    fn fields_keep_their_names_and_absence_stays_absence() {
        for text in [
            r#"{"endpointSelector":{},"ingress":[{}],"ingressDeny":[],"enableDefaultDeny":{"ingress":false}}"#,
            r#"{"endpointSelector":{"matchLabels":{"k8s:a":"b"}},"egress":[{"toCIDR":[],"toCIDRSet":[{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]},{"cidrGroupRef":"g"},{"cidrGroupSelector":{}}],"toFQDNs":[{"matchName":"a"}],"toServices":[{"k8sService":{"serviceName":"s"}},{"k8sServiceSelector":{"selector":{}}}],"toGroups":[{"aws":{"securityGroupsIds":["x"]}}]}]}"#,
            r#"{"nodeSelector":{},"ingress":[{"toPorts":[{"ports":[{"port":"80","endPort":90,"protocol":"TCP"}],"rules":{"kafka":[{"apiKey":"x","clientID":"y"}],"http":[{"headerMatches":[{"name":"n","mismatch":"LOG"}]}]},"terminatingTLS":{"secret":{"name":"s"},"trustedCA":"c"},"originatingTLS":{"secret":{"name":"s"}},"serverNames":["a"],"listener":{"envoyConfig":{"name":"e"},"name":"l"}}],"icmps":[{"fields":[{"family":"IPv6","type":8},{"type":"Echo"}]}],"authentication":{"mode":"required"}}],"log":{"value":"v"}}"#,
        ] {
            let written: serde_json::Value = serde_json::from_str(text).unwrap();
            let rule: crate::cilium_policy::PolicyRule = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(serde_json::to_value(rule).unwrap(), written);
        }
        let object = serde_json::json!({ "metadata": { "name": "p" }, "specs": [{ "endpointSelector": {} }] });
        let named: CiliumNetworkPolicy = serde_json::from_value(object.clone()).unwrap();
        assert_eq!((named.kind.as_str(), named.api_version.as_str()), ("CiliumNetworkPolicy", "cilium.io/v2"));
        let wide: CiliumClusterwideNetworkPolicy = serde_json::from_value(object).unwrap();
        assert_eq!(wide.kind, CiliumClusterwideNetworkPolicy::kind(&()));
    }
}
