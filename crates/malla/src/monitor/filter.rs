//! Which events are wanted.

use agent::events::{self, Kind, Line, Record};
use std::convert::Infallible;
use std::net::IpAddr;
use std::str::FromStr;

/// What must be true of an event. Losses always pass: they are about all events.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Its kind is one of these.
    pub kinds: Vec<Kind>,
    /// It comes from here.
    pub from: Option<Party>,
    /// It goes there.
    pub to: Option<Party>,
}

/// One end of a flow, as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// An address.
    Address(IpAddr),
    /// A range.
    Range(ipnet::IpNet),
    /// A Pod, Service or node; the namespace only if it was given.
    Name {
        /// Namespace.
        namespace: Option<String>,
        /// Name.
        name: String,
    },
}

impl FromStr for Party {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if let Ok(range) = text.parse() {
            return Ok(Self::Range(range));
        }
        Ok(match text.split_once('/') {
            Some((namespace, name)) => Self::Name { namespace: Some(namespace.to_owned()), name: name.to_owned() },
            None => Self::Name { namespace: None, name: text.to_owned() },
        })
    }
}

impl Filter {
    /// Whether the line is wanted.
    #[must_use]
    pub fn wants(&self, line: &Line) -> bool {
        let Line::Flow(record) = line else { return true };
        // A reply's source is the flow's destination: people name the ends of the conversation.
        let (source, destination) =
            if record.reply { (&record.destination, &record.source) } else { (&record.source, &record.destination) };
        self.kinds.contains(&record.kind)
            && self.from.as_ref().is_none_or(|party| party.is(source))
            && self.to.as_ref().is_none_or(|party| party.is(destination) || party.is_service(record))
    }
}

impl Party {
    fn is(&self, party: &events::Party) -> bool {
        match self {
            Self::Address(address) => party.address == *address,
            Self::Range(range) => range.contains(&party.address),
            Self::Name { namespace, name } => {
                let pod = party
                    .pod
                    .iter()
                    .chain(&party.service)
                    .any(|o| namespace.as_ref().is_none_or(|n| **n == *o.namespace) && **name == *o.name);
                pod || namespace.is_none() && party.node.as_ref().is_some_and(|n| *n.0 == **name)
            }
        }
    }

    /// Whether the flow was meant for it before translation.
    fn is_service(&self, record: &Record) -> bool {
        let Some(service) = &record.service else { return false };
        match self {
            Self::Address(address) => service.address == *address,
            Self::Range(range) => range.contains(&service.address),
            Self::Name { namespace, name } => service
                .name
                .as_ref()
                .is_some_and(|o| namespace.as_ref().is_none_or(|n| **n == *o.namespace) && **name == *o.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::compact::example;
    use super::*;

    fn check(from: Option<&str>, to: Option<&str>, reply: bool) -> bool {
        let party = |text: &str| text.parse::<Party>().unwrap();
        let filter = Filter { kinds: vec![Kind::Flow], from: from.map(party), to: to.map(party) };
        let mut record = example();
        if reply {
            std::mem::swap(&mut record.source, &mut record.destination);
            record.reply = true;
        }
        filter.wants(&Line::Flow(Box::new(record)))
    }

    #[test]
    fn ends_are_named_by_pod_address_range_and_service() {
        for from in ["10.244.1.2", "10.244.0.0/16", "client", "default/client"] {
            assert!(check(Some(from), None, false) && check(Some(from), None, true), "{from}");
            assert!(!check(None, Some(from), false) || from == "10.244.0.0/16", "{from}");
        }
        for to in ["10.244.2.2", "default/spink-abc", "spink", "10.96.0.7"] {
            assert!(check(None, Some(to), false), "{to}");
        }
        for other in ["10.244.1.3", "other/client", "10.245.0.0/16", "clien"] {
            assert!(!check(Some(other), None, false), "{other}");
        }
    }

    #[test]
    fn another_kind_is_not_wanted_and_losses_always_are() {
        let filter = Filter { kinds: vec![Kind::Drop], from: None, to: None };
        assert!(!filter.wants(&Line::Flow(Box::new(example()))));
        let loss = events::Loss { node: "n".into(), events: 1, place: "ring".into() };
        assert!(filter.wants(&Line::Lost(loss)));
    }
}
