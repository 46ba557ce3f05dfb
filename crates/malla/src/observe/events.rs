//! `malla observe agent-events` and `debug-events`: what agents did, and what datapaths tell of themselves.
//!
//! Each node is asked: a relay passes no such events. What is past is told by time, what comes as it comes.

use super::elsewhere::Elsewhere;
use super::format::Format;
use super::select::Selectors;
use super::server::ServerArgs;
use super::{in_time, nodes, said, show, variables, write};
use crate::agents::Selection;
use anyhow::bail;
use clap::Args;
use flow_api::client::status_words;
use flow_api::moment::moment;
use flow_api::observer::observer_client::ObserverClient;
use flow_api::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse,
};
use flow_api::print::{Printed, Printer};
use flow_api::query::Wanted;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::{BoxStream, select_all};
use prost_types::Timestamp;
use tonic::Status;
use tonic::transport::Channel;

/// Arguments of both.
#[derive(Args, Debug)]
pub struct EventsArgs {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    selectors: Selectors,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    _elsewhere: Elsewhere,
}

/// Events of one node.
type Stream<T> = BoxStream<'static, Result<T, Status>>;
/// The same, with errors in words; those of a lab's nodes name the node.
type Told<T> = BoxStream<'static, Result<T, String>>;

/// What a node tells of itself.
trait Event: Send + Sized + 'static {
    async fn ask(channel: Channel, wanted: Wanted) -> Result<Stream<Self>, Status>;
    fn time(&self) -> Option<&Timestamp>;
    fn print(&self, printer: &mut Printer) -> Printed;
}

impl Event for GetAgentEventsResponse {
    async fn ask(channel: Channel, wanted: Wanted) -> Result<Stream<Self>, Status> {
        let Wanted { number, first, follow, since, until } = wanted;
        let request = GetAgentEventsRequest { number, first, follow, since, until };
        Ok(ObserverClient::new(channel).get_agent_events(request).await?.into_inner().boxed())
    }

    fn time(&self) -> Option<&Timestamp> {
        self.time.as_ref()
    }

    fn print(&self, printer: &mut Printer) -> Printed {
        printer.print_agent_event(self)
    }
}

impl Event for GetDebugEventsResponse {
    async fn ask(channel: Channel, wanted: Wanted) -> Result<Stream<Self>, Status> {
        let Wanted { number, first, follow, since, until } = wanted;
        let request = GetDebugEventsRequest { number, first, follow, since, until };
        Ok(ObserverClient::new(channel).get_debug_events(request).await?.into_inner().boxed())
    }

    fn time(&self) -> Option<&Timestamp> {
        self.time.as_ref()
    }

    fn print(&self, printer: &mut Printer) -> Printed {
        printer.print_debug_event(self)
    }
}

impl EventsArgs {
    /// Prints what agents did, until there is no more.
    ///
    /// # Errors
    /// When no node answers, or one refuses the request.
    pub async fn print_agent_events(&self) -> anyhow::Result<()> {
        self.print::<GetAgentEventsResponse>().await
    }

    /// Prints what datapaths tell of themselves, until there is no more.
    ///
    /// # Errors
    /// When no node answers, or one refuses the request.
    pub async fn print_debug_events(&self) -> anyhow::Result<()> {
        self.print::<GetDebugEventsResponse>().await
    }

    async fn print<T: Event>(&self) -> anyhow::Result<()> {
        let form = self.format.form_for(&self.selectors)?;
        let wanted = self.selectors.wanted_or_last();
        let (streams, several) = self.streams::<T>(&wanted).await?;
        let mut printer = Printer::new(self.format.options(form, several));
        // One that fails does not silence the others; that all have failed is an error.
        let (asked, mut failed) = (streams.len(), Vec::new());
        if wanted.follow {
            let mut events = select_all(streams);
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        if !show(&event.print(&mut printer))? {
                            return Ok(());
                        }
                    }
                    Err(why) => {
                        failed.push(why);
                        if failed.len() < asked {
                            self.warn(&failed[failed.len() - 1..]);
                        }
                    }
                }
            }
        } else {
            let (events, silent) = past(streams, &wanted).await;
            failed.extend(silent);
            if failed.len() < asked {
                self.warn(&failed);
            }
            for event in events {
                if !show(&event.print(&mut printer))? {
                    return Ok(());
                }
            }
        }
        write(&printer.finish())?;
        if failed.len() == asked {
            bail!("{}", failed.join("; "));
        }
        Ok(())
    }

    fn warn(&self, all: &[String]) {
        if !self.format.silent_errors {
            all.iter().for_each(|why| eprintln!("WARNING: {why}"));
        }
    }

    /// Of all who are asked and answer, and whether several are asked.
    async fn streams<T: Event>(&self, wanted: &Wanted) -> anyhow::Result<(Vec<Told<T>>, bool)> {
        if let Some(way) = self.server.way(&variables(self.selection.is_named()))? {
            let events = in_time(T::ask(way.connect().await?, wanted.clone())).await.map_err(said)?;
            let told = events.map(|event| event.map_err(|status| status_words(&status)));
            return Ok((vec![told.boxed()], true));
        }
        let nodes = nodes(&self.selection)?;
        let several = nodes.len() > 1;
        let asked = join_all(nodes.into_iter().map(|(node, target)| async move {
            let ask = async {
                in_time(T::ask(target.connect(None).await?, wanted.clone()))
                    .await
                    .map_err(|status| status_words(&status))
            };
            let events: Stream<T> = ask.await.map_err(|why: String| format!("{node}: {why}"))?;
            let told = events.map(move |event| event.map_err(|status| format!("{node}: {}", status_words(&status))));
            Ok::<Told<T>, String>(told.boxed())
        }))
        .await;
        let (mut streams, mut silent) = (Vec::new(), Vec::new());
        for one in asked {
            match one {
                Ok(stream) => streams.push(stream),
                Err(why) => silent.push(why),
            }
        }
        if streams.is_empty() {
            bail!("no node answers: {}", silent.join("; "));
        }
        self.warn(&silent);
        Ok((streams, several))
    }
}

/// By time, and no more than were asked for: each node has given as many. A node's ring bounds what it gives. And who has failed.
async fn past<T: Event>(streams: Vec<Told<T>>, wanted: &Wanted) -> (Vec<T>, Vec<String>) {
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    for events in join_all(streams.into_iter().map(StreamExt::collect::<Vec<_>>)).await {
        for event in events {
            match event {
                Ok(event) => all.push(event),
                Err(why) => failed.push(why),
            }
        }
    }
    all.sort_by_key(|event| event.time().map(moment));
    let number = usize::try_from(wanted.number).unwrap_or(usize::MAX);
    if number > 0 && all.len() > number {
        if wanted.first || wanted.since.is_some() {
            all.truncate(number);
        } else {
            all.drain(..all.len() - number);
        }
    }
    (all, failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Observe, ObserveArgs};
    use clap::{Command, FromArgMatches};

    fn events(line: &str) -> Result<EventsArgs, String> {
        let command = ObserveArgs::augment_args(Command::new("observe").no_binary_name(true));
        let matches = command.try_get_matches_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        match ObserveArgs::from_arg_matches(&matches).map_err(|error| error.to_string())?.what {
            Some(Observe::AgentEvents(args) | Observe::DebugEvents(args)) => Ok(args.0),
            _ => Err("flows are asked for".to_owned()),
        }
    }

    #[test]
    fn the_last_twenty_are_asked_for_unless_something_is_chosen() {
        let number = |line: &str| {
            let wanted = events(line).unwrap().selectors.wanted_or_last();
            (wanted.number, wanted.first, wanted.follow)
        };
        assert_eq!((number("agent-events"), number("debug-events -f")), ((20, false, false), (20, false, true)));
        assert_eq!(
            (number("agent-events --all"), number("agent-events --first 3")),
            ((0, false, false), (3, true, false))
        );
        assert_eq!(
            (number("agent-events --since 1h"), number("debug-events --last 2")),
            ((0, false, false), (2, false, false))
        );
        for line in ["agent-events --verdict dropped", "debug-events --input-file -", "--last 3"] {
            assert!(events(line).is_err(), "{line}");
        }
        assert!(events("agent-events --server relay:80 --node a").unwrap_err().contains("--server"));
    }

    #[tokio::test]
    async fn events_of_all_nodes_are_told_by_time_and_no_more_than_asked() {
        let event = |seconds| {
            Ok(GetAgentEventsResponse {
                time: Some(Timestamp { seconds, nanos: 0 }),
                ..GetAgentEventsResponse::default()
            })
        };
        let told = async |wanted: Wanted| {
            let nodes = [vec![1, 4, 5], vec![2, 3, 6]];
            let streams = nodes.map(|times| futures::stream::iter(times.into_iter().map(event)).boxed());
            // One that fails does not silence the others.
            let fails = futures::stream::iter([event(3), Err("c: is gone".to_owned())]).boxed();
            let streams = streams.into_iter().chain([fails]).collect();
            let (all, failed) = past::<GetAgentEventsResponse>(streams, &wanted).await;
            assert_eq!(failed, ["c: is gone"]);
            all.iter().map(|event| event.time.unwrap().seconds).collect::<Vec<_>>()
        };
        assert_eq!(told(Wanted::default()).await, [1, 2, 3, 3, 4, 5, 6]);
        assert_eq!(told(Wanted { number: 2, ..Wanted::default() }).await, [5, 6]);
        assert_eq!(told(Wanted { number: 2, first: true, ..Wanted::default() }).await, [1, 2]);
        let since = Some(Timestamp { seconds: 1, nanos: 0 });
        assert_eq!(told(Wanted { number: 9, since, ..Wanted::default() }).await, [1, 2, 3, 3, 4, 5, 6]);
    }
}
