//! One question to one node: whoever takes a connection and says nothing is not waited for.

use crate::limits::Limits;
use crate::target::Target;
use crate::trouble::Trouble;
use flow_api::client::Credentials;
use tonic::transport::Channel;
use tonic::{Response, Status};

/// Its answer, or the stream of its answers, within twice [`Limits::dial`].
///
/// # Errors
/// What is wrong with the node.
pub async fn ask<T, F>(
    target: &Target,
    credentials: Option<&Credentials>,
    limits: &Limits,
    question: impl FnOnce(Channel) -> F,
) -> Result<T, Trouble>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let channel = target.connect_within(limits.dial, credentials).await.map_err(Trouble::away)?;
    let answer = tokio::time::timeout(limits.dial, question(channel)).await;
    Ok(answer.map_err(|_| Trouble::away("no answer in time"))??.into_inner())
}
