//! The only way from the controllers to the API server: every answer enters the cache at once.

use crate::{
    Error, Result,
    cache::{Cache, Key},
    events::Recorder,
    leader::Leadership,
    merge_patch,
};
use custom_resources::{
    CiliumCIDRGroup, CiliumClusterwideNetworkPolicy, CiliumEndpointSlice, CiliumIdentity, CiliumLoadBalancerIPPool,
    CiliumNetworkPolicy, ClusterNetworkPolicy,
};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    coordination::v1::Lease,
    core::v1::{Binding, Endpoints, Namespace, Node, ObjectReference, Pod, Service},
    discovery::v1::EndpointSlice,
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{fmt::Debug, sync::Arc};

/// One cache per kind.
pub struct Caches {
    pub nodes: Arc<Cache<Node>>,
    pub leases: Arc<Cache<Lease>>,
    pub pods: Arc<Cache<Pod>>,
    pub services: Arc<Cache<Service>>,
    pub replica_sets: Arc<Cache<ReplicaSet>>,
    pub deployments: Arc<Cache<Deployment>>,
    pub endpoint_slices: Arc<Cache<EndpointSlice>>,
    pub endpoints: Arc<Cache<Endpoints>>,
    pub namespaces: Arc<Cache<Namespace>>,
    /// Not waited for by the others: a cluster may not have this kind.
    pub load_balancer_pools: Arc<Cache<CiliumLoadBalancerIPPool>>,
    /// As above.
    pub identities: Arc<Cache<CiliumIdentity>>,
    /// As above.
    pub identity_slices: Arc<Cache<CiliumEndpointSlice>>,
    pub network_policies: Arc<Cache<NetworkPolicy>>,
    /// As above, and so on to the end.
    pub cluster_policies: Arc<Cache<ClusterNetworkPolicy>>,
    pub cilium_policies: Arc<Cache<CiliumNetworkPolicy>>,
    pub clusterwide_policies: Arc<Cache<CiliumClusterwideNetworkPolicy>>,
    pub cidr_groups: Arc<Cache<CiliumCIDRGroup>>,
}

/// A kind that the controllers hold in a cache.
pub trait Kind:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Its cache.
    fn cache(caches: &Caches) -> &Arc<Cache<Self>>;
    /// A client for this kind in a namespace (ignored by cluster-wide kinds).
    fn api(client: Client, namespace: &str) -> Api<Self>;
}

macro_rules! kinds {
    ($($kind:ty, $cache:ident, $api:expr;)*) => {$(
        impl Kind for $kind {
            fn cache(caches: &Caches) -> &Arc<Cache<Self>> {
                &caches.$cache
            }
            fn api(client: Client, namespace: &str) -> Api<Self> {
                let build: fn(Client, &str) -> Api<Self> = $api;
                build(client, namespace)
            }
        }
    )*};
}

kinds! {
    Node, nodes, |client, _| Api::all(client);
    Lease, leases, Api::namespaced;
    Pod, pods, Api::namespaced;
    Service, services, Api::namespaced;
    ReplicaSet, replica_sets, Api::namespaced;
    Deployment, deployments, Api::namespaced;
    EndpointSlice, endpoint_slices, Api::namespaced;
    Endpoints, endpoints, Api::namespaced;
    Namespace, namespaces, |client, _| Api::all(client);
    CiliumLoadBalancerIPPool, load_balancer_pools, |client, _| Api::all(client);
    CiliumIdentity, identities, |client, _| Api::all(client);
    CiliumEndpointSlice, identity_slices, |client, _| Api::all(client);
    NetworkPolicy, network_policies, Api::namespaced;
    ClusterNetworkPolicy, cluster_policies, |client, _| Api::all(client);
    CiliumNetworkPolicy, cilium_policies, Api::namespaced;
    CiliumClusterwideNetworkPolicy, clusterwide_policies, |client, _| Api::all(client);
    CiliumCIDRGroup, cidr_groups, |client, _| Api::all(client);
}

/// What every controller holds: the caches to read, the client to write, the recorder to tell people.
pub struct Cluster {
    pub client: Client,
    pub caches: Caches,
    pub recorder: Recorder,
    pub leadership: Arc<Leadership>,
}

/// How long a Pod may take to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// As its spec says.
    Own,
    /// At once: nobody is left on its Node who could end it.
    None,
}

impl Cluster {
    /// All objects of a kind that has no namespace, as the API server has them now.
    pub async fn list<K: Kind>(&self) -> Result<Vec<K>> {
        let listed = K::api(self.client.clone(), "").list(&ListParams::default()).await;
        listed.map(|list| list.items).map_err(|source| failed::<K>("list", &Key::new("", "all"), source))
    }

    /// Creates an object; with `generateName` the server gives the name.
    pub async fn create<K: Kind>(&self, object: &K) -> Result<Arc<K>> {
        let meta = object.meta();
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let created = K::api(self.client.clone(), namespace)
            .create(&PostParams::default(), object)
            .await
            .map_err(|source| failed::<K>("create", &Key::of(meta), source))?;
        Ok(self.keep(created))
    }

    /// Replaces an object that belongs to us alone; guarded by the resourceVersion it carries.
    pub async fn replace<K: Kind>(&self, object: &K) -> Result<Arc<K>> {
        let key = Key::of(object.meta());
        let replaced =
            K::api(self.client.clone(), &key.namespace).replace(&key.name, &PostParams::default(), object).await;
        self.answer("replace", &key, object.meta().uid.as_deref(), replaced)
    }

    /// Writes the difference between two states of metadata and spec, guarded by `old`'s resourceVersion.
    pub async fn patch<K: Kind>(&self, old: &K, new: &K) -> Result<()> {
        let (old_value, new_value) = (value_of(old)?, value_of(new)?);
        let Some(patch) = merge_patch::difference(&old_value, &new_value) else {
            return Ok(());
        };
        let key = Key::of(old.meta());
        let patched = K::api(self.client.clone(), &key.namespace)
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(guarded(patch, old)))
            .await;
        self.answer("patch", &key, old.meta().uid.as_deref(), patched).map(drop)
    }

    /// Writes the difference between two states of `status`, guarded by `old`'s resourceVersion.
    pub async fn patch_status<K: Kind>(&self, old: &K, new: &K) -> Result<()> {
        let (old_value, new_value) = (value_of(old)?, value_of(new)?);
        let (old_status, new_status) = (&old_value["status"], &new_value["status"]);
        let Some(patch) = merge_patch::difference(old_status, new_status) else {
            return Ok(());
        };
        let key = Key::of(old.meta());
        let patched = K::api(self.client.clone(), &key.namespace)
            .patch_status(&key.name, &PatchParams::default(), &Patch::Merge(guarded(json!({"status": patch}), old)))
            .await;
        self.answer("patch status of", &key, old.meta().uid.as_deref(), patched).map(drop)
    }

    /// Deletes this very object (by uid). That it is gone already is fine.
    pub async fn delete<K: Kind>(&self, object: &K, grace: Grace) -> Result<()> {
        let preconditions = Preconditions { uid: object.meta().uid.clone(), resource_version: None };
        let mut params = DeleteParams::background().preconditions(preconditions);
        if grace == Grace::None {
            params = params.grace_period(0);
        }
        match self.delete_if(object, params).await {
            // The name now belongs to another incarnation: ours is gone.
            Err(error) if error.is_conflict() => Ok(()),
            other => other,
        }
    }

    /// Deletes the object if nobody has changed it since it was read; a conflict if somebody has.
    pub async fn delete_unchanged<K: Kind>(&self, object: &K) -> Result<()> {
        let meta = object.meta();
        let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: meta.resource_version.clone() };
        self.delete_if(object, DeleteParams::background().preconditions(preconditions)).await
    }

    async fn delete_if<K: Kind>(&self, object: &K, params: DeleteParams) -> Result<()> {
        let key = Key::of(object.meta());
        let uid = object.meta().uid.clone();
        match K::api(self.client.clone(), &key.namespace).delete(&key.name, &params).await {
            Ok(answer) => {
                if let Some(object) = answer.left()
                    && object.meta().deletion_timestamp.is_some()
                    && object.meta().name.is_some()
                {
                    self.keep(object);
                }
                // Whether it lingers or is gone, nobody should count on it from here on.
                let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::now());
                if K::cache(&self.caches).get(&key).is_some_and(|held| held.meta().uid == uid) {
                    K::cache(&self.caches).assume(&key, |held| {
                        held.meta_mut().deletion_timestamp.get_or_insert(now);
                    });
                }
                Ok(())
            }
            Err(source) => {
                let error = failed::<K>("delete", &key, source);
                if error.is_not_found() {
                    K::cache(&self.caches).forget(&key, uid.as_deref());
                    return Ok(());
                }
                Err(error)
            }
        }
    }

    /// Gives a Pod its Node through the `binding` subresource.
    pub async fn bind(&self, pod: &Pod, node: &str) -> Result<()> {
        let key = Key::of(&pod.metadata);
        let binding = Binding {
            metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                name: Some(key.name.clone()),
                namespace: Some(key.namespace.clone()),
                uid: pod.metadata.uid.clone(),
                ..Default::default()
            },
            target: ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Node".into()),
                name: Some(node.to_owned()),
                ..Default::default()
            },
        };
        let body = serde_json::to_vec(&binding).map_err(|source| Error::Encode {
            kind: "Binding",
            name: key.to_string(),
            source,
        })?;
        let url = Pod::url_path(&(), Some(&key.namespace));
        let request = kube::core::Request::new(url)
            .create_subresource("binding", &key.name, &PostParams::default(), body)
            .map_err(|source| failed::<Pod>("bind", &key, kube::Error::BuildRequest(source)))?;
        match self.client.request::<Value>(request).await {
            Ok(_) => Ok(()),
            Err(source) => {
                let error = failed::<Pod>("bind", &key, source);
                if error.is_not_found() {
                    self.caches.pods.forget(&key, pod.metadata.uid.as_deref());
                }
                Err(error)
            }
        }
    }

    fn answer<K: Kind>(
        &self,
        operation: &'static str,
        key: &Key,
        uid: Option<&str>,
        answer: kube::Result<K>,
    ) -> Result<Arc<K>> {
        match answer {
            Ok(object) => Ok(self.keep(object)),
            Err(source) => {
                let error = failed::<K>(operation, key, source);
                if error.is_not_found() {
                    K::cache(&self.caches).forget(key, uid);
                }
                Err(error)
            }
        }
    }

    fn keep<K: Kind>(&self, mut object: K) -> Arc<K> {
        object.meta_mut().managed_fields = None;
        K::cache(&self.caches).written(object)
    }
}

fn guarded<K: Kind>(mut patch: Value, old: &K) -> Value {
    if let Some(version) = &old.meta().resource_version {
        patch["metadata"]["resourceVersion"] = json!(version);
    }
    patch
}

fn value_of<K: Kind>(object: &K) -> Result<Value> {
    serde_json::to_value(object).map_err(|source| Error::Encode {
        kind: kind_of::<K>(),
        name: Key::of(object.meta()).to_string(),
        source,
    })
}

fn failed<K: Kind>(operation: &'static str, key: &Key, source: kube::Error) -> Error {
    Error::Api { operation, kind: kind_of::<K>(), name: key.to_string(), source: Box::new(source) }
}

/// The kind's name; built-in kinds have static names.
fn kind_of<K: Kind>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(name) => name,
        std::borrow::Cow::Owned(_) => "object",
    }
}
