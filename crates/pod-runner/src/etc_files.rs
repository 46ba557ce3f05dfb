//! The Pod's own /etc/hosts and /etc/resolv.conf, as kubelet writes them.

use std::{fmt::Write, net::IpAddr};

use k8s_openapi::api::core::v1::{HostAlias, PodDNSConfig};

/// /etc/hosts of a Pod with a network of its own (kubelet's `managedHostsFileContent`).
#[must_use]
pub fn hosts(pod_ips: &[IpAddr], hostname: &str, domain: Option<&str>, aliases: &[HostAlias]) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    for ip in pod_ips {
        let _ = match domain {
            Some(domain) => writeln!(text, "{ip}\t{hostname}.{domain}\t{hostname}"),
            None => writeln!(text, "{ip}\t{hostname}"),
        };
    }
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names = alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t");
        let _ = writeln!(text, "{}\t{names}", alias.ip);
    }
    text
}

/// Where a Pod's names are looked up.
#[derive(Debug, Clone, Default)]
pub struct Resolver {
    pub servers: Vec<IpAddr>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl Resolver {
    /// For `dnsPolicy: ClusterFirst`.
    #[must_use]
    pub fn cluster_first(servers: &[IpAddr], namespace: &str, domain: &str) -> Self {
        Self {
            servers: servers.to_vec(),
            searches: vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()],
            options: vec!["ndots:5".to_owned()],
        }
    }

    /// For `dnsPolicy: Default`: what the node itself uses (resolv.conf(5)).
    #[must_use]
    pub fn of_node(resolv_conf: &str) -> Self {
        let mut resolver = Self::default();
        for line in resolv_conf.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    resolver.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()))
                }
                Some("search" | "domain") => resolver.searches = words.map(str::to_owned).collect(),
                Some("options") => resolver.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        resolver
    }

    /// Adds the Pod's `dnsConfig`; its options replace those of the same name.
    #[must_use]
    pub fn with(mut self, config: Option<&PodDNSConfig>) -> Self {
        let Some(config) = config else { return self };
        for server in config.nameservers.iter().flatten().filter_map(|text| text.parse().ok()) {
            if !self.servers.contains(&server) {
                self.servers.push(server);
            }
        }
        for search in config.searches.iter().flatten() {
            if !self.searches.contains(search) {
                self.searches.push(search.clone());
            }
        }
        for option in config.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            self.options.retain(|have| have.split(':').next() != Some(name));
            self.options.push(option.value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}")));
        }
        self
    }

    /// The text of resolv.conf, within what resolvers read and kubelet passes on (`dns.go`): 3 servers, 32 searches in
    /// 2048 characters.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut length = 0;
        let fitting = self.searches.iter().take(MOST_SEARCHES).take_while(|search| {
            length += search.len() + 1;
            length <= LONGEST_SEARCHES + 1
        });
        let searches: Vec<&str> = fitting.map(String::as_str).collect();
        if !searches.is_empty() {
            let _ = writeln!(text, "search {}", searches.join(" "));
        }
        for server in self.servers.iter().take(MOST_SERVERS) {
            let _ = writeln!(text, "nameserver {server}");
        }
        if !self.options.is_empty() {
            let _ = writeln!(text, "options {}", self.options.join(" "));
        }
        text
    }
}

/// `MaxDNSNameservers`, `MaxDNSSearchPaths` and `MaxDNSSearchListChars` of Kubernetes' validation.
const MOST_SERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;
const LONGEST_SEARCHES: usize = 2048;

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodDNSConfigOption;

    use super::*;

    #[test]
    fn hosts_name_the_pod_by_both_families() {
        let ips = ["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let alias = HostAlias { ip: "192.0.2.9".into(), hostnames: Some(vec!["a".into(), "b".into()]) };
        let text = hosts(&ips, "web-0", Some("web.default.svc.cluster.local"), &[alias]);
        assert!(text.contains("\n10.244.1.2\tweb-0.web.default.svc.cluster.local\tweb-0\n"));
        assert!(text.contains("\nfd00::2\tweb-0.web"));
        assert!(text.ends_with("192.0.2.9\ta\tb\n"));
    }

    #[test]
    fn resolvers() {
        let cluster = Resolver::cluster_first(&["10.96.0.10".parse().unwrap()], "shop", "cluster.local");
        let option = PodDNSConfigOption { name: Some("ndots".into()), value: Some("2".into()) };
        let config =
            PodDNSConfig { searches: Some(vec!["x.org".into()]), options: Some(vec![option]), nameservers: None };
        assert_eq!(
            cluster.with(Some(&config)).text(),
            "search shop.svc.cluster.local svc.cluster.local cluster.local x.org\nnameserver 10.96.0.10\noptions ndots:2\n"
        );
        let node =
            Resolver::of_node("# me\nnameserver 192.0.2.53\nsearch a b\noptions timeout:1\nnameserver rubbish\n");
        assert_eq!(node.text(), "search a b\nnameserver 192.0.2.53\noptions timeout:1\n");
    }

    #[test]
    fn no_more_than_resolvers_read() {
        let many = |n: usize| (0..n).map(|i| format!("s{i}.{}", "x".repeat(100)));
        let resolver = Resolver {
            servers: (0..5).map(|i| IpAddr::from([192, 0, 2, i])).collect(),
            searches: many(40).collect(),
            options: vec![],
        };
        let text = resolver.text();
        assert_eq!(text.matches("nameserver").count(), 3);
        let searches = text.lines().next().unwrap().strip_prefix("search ").unwrap();
        assert!(searches.len() <= 2048 && searches.split(' ').count() >= 19, "{}", searches.len());
        let short = Resolver { searches: (0..40).map(|i| format!("s{i}")).collect(), ..Resolver::default() };
        assert_eq!(short.text().split_ascii_whitespace().count(), 33);
    }
}
