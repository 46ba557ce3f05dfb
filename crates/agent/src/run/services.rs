//! Services into the maps, and what of them can't be served to those who should know.

use super::state::State;
use crate::deeds::Deed;
use crate::error::Error;
use crate::services;
use ipnet::IpNet;
use load_balancer::condition::{self, Report};
use load_balancer::{Wanted, host_ports};
use model::ObjectName;
use std::collections::BTreeMap;

impl State {
    pub(super) fn settle_services(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.host_ports_are_old) {
            self.services.take_host_ports(self.host_ports());
        }
        while let Some((plan, purges)) = self.services.next(&self.parts.own) {
            let maps = &self.parts.maps.services;
            if let Err(error) = services::apply(maps, &plan) {
                // How far it came is in the maps; the next tick goes on from there.
                // What it had removed by then was told to no collector.
                self.cleared = false;
                self.services.recover(maps.balancer(self.parts.capacity)?);
                return Err(error.into());
            }
            for news in self.services.news() {
                self.parts.hub.did(|| Deed::Service(news));
            }
            self.parts.collector.backends(purges);
        }
        for complaint in self.services.complaints() {
            // When many wait already, status alone says so.
            let _ = self.parts.complaints.try_send(complaint);
        }
        self.report_problems();
        if let Some(health) = self.services.new_health() {
            self.parts.health.send_replace(health.clone());
        }
        if self.services.is_settled() && !std::mem::replace(&mut self.cleared, true) {
            self.parts.collector.present(self.services.present());
        }
        Ok(())
    }

    /// Into the status of Services that were planned since the last time, where it does not say so already.
    fn report_problems(&mut self) {
        let own = &self.parts.own.name;
        // The first node by name speaks for those that can't any more.
        let first = self.nodes.is_synced() && self.nodes.keys().min() == Some(own);
        for name in self.services.planned() {
            let Some(service) = self.services.service(&name) else { continue };
            let problem = self.services.problems().get(&name).map(|text| condition::line(text));
            let gone = service.reported.keys().filter(|node| first && self.nodes.get(node).is_none());
            let report = Report { gone: gone.cloned().collect(), problem };
            if report.problem.as_ref() != service.reported.get(own) || !report.gone.is_empty() {
                // The writer lives as long as the agent.
                let _ = self.parts.reports.send((name, report));
            }
        }
    }

    fn host_ports(&self) -> BTreeMap<ObjectName, Wanted> {
        let mut node = self.parts.own.addresses.clone();
        node.extend(
            self.parts.facts.addresses.iter().map(IpNet::addr).filter(|a| !self.parts.own.addresses.contains(a)),
        );
        let pods = self.parts.pods.list().into_iter().filter(|pod| !pod.host_ports.is_empty());
        pods.map(|pod| {
            let name = pod.name.unwrap_or_else(|| ObjectName::new("", &pod.interface));
            (host_ports::owner(&name), host_ports::host_ports(&name, &pod.addresses, &pod.host_ports, &node))
        })
        .collect()
    }
}
