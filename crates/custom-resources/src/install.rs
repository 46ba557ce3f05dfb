//! How a cluster gets the definitions. A feature of its own: it needs a client, and the types need none.

use crate::definitions::definitions;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};

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
