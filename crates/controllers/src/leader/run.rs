//! Looks at the Lease every `retry`, and writes it while it is ours or free.

use super::{Election, Leadership, plan::Observed};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use std::{sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Takes part in the election until cancelled. The Lease is not given back at the end: what is on its way then must not
/// meet the next leader's writes.
pub(crate) async fn elect(client: Client, election: Election, leadership: Arc<Leadership>, cancel: CancellationToken) {
    let api: Api<Lease> = Api::namespaced(client, &election.namespace);
    let (mut observed, mut led) = (Observed::default(), false);
    loop {
        let began = Instant::now();
        let attempt = tokio::time::timeout(election.timing.deadline / 2, attempt(&api, &election, &mut observed));
        let answer = tokio::select! {
            () = cancel.cancelled() => return,
            answer = attempt => answer,
        };
        match answer {
            // Others count from when they see it, which is later than it began.
            Ok(Ok(true)) => leadership.hold(began + election.timing.deadline, Instant::now()),
            Ok(Ok(false)) => leadership.lose(),
            Ok(Err(error)) => tracing::debug!(%error, "the Lease"),
            Err(_) => tracing::debug!("the Lease: the API server does not answer"),
        }
        let leads = leadership.term().is_some();
        if std::mem::replace(&mut led, leads) != leads {
            let what = if leads { "leads" } else { "leads no more" };
            tracing::info!("{} {what}", election.identity);
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(election.timing.retry.saturating_sub(began.elapsed())) => {}
        }
    }
}

/// Whether the Lease is ours now.
async fn attempt(api: &Api<Lease>, election: &Election, observed: &mut Observed) -> kube::Result<bool> {
    let lease = api.get_opt(Election::LEASE).await?;
    let Some(new) = observed.next(election, lease.as_ref(), Instant::now(), Timestamp::now()) else {
        return Ok(false);
    };
    let written = match lease {
        Some(_) => api.replace(Election::LEASE, &PostParams::default(), &new).await,
        None => api.create(&PostParams::default(), &new).await,
    };
    match written {
        Ok(_) => Ok(true),
        // Somebody else was faster, with a renewal or with taking it.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
