//! What an API server would serve, as text.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// How many.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub services: u32,
    pub endpoints: u32,
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('x').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match parts {
            Some((services @ 1..=100_000, endpoints @ 1..=1000)) => Ok(Self { services, endpoints }),
            _ => Err(format!("{text:?} is not like 10000x10 (at most 100000x1000)")),
        }
    }
}

/// A list as the API serves it; only its items matter here.
#[derive(serde::Deserialize)]
pub struct List<T> {
    pub items: Vec<T>,
}

/// Pages of 500 objects, as clients ask for them.
pub struct Lists {
    pub services: Vec<String>,
    pub slices: Vec<String>,
}

const PAGE: u32 = 500;

impl Size {
    pub fn lists(self) -> Lists {
        let pages = |object: &dyn Fn(u32) -> String| {
            let firsts = (0..self.services).step_by(PAGE as usize);
            firsts
                .map(|first| {
                    let last = (first + PAGE).min(self.services);
                    let items: Vec<String> = (first..last).map(object).collect();
                    format!("{{\"items\":[{}]}}", items.join(","))
                })
                .collect()
        };
        Lists { services: pages(&|number| self.service(number)), slices: pages(&|number| self.slice(number, true)) }
    }

    fn service(self, number: u32) -> String {
        let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 1, 0)) + number);
        format!(
            "{{\"metadata\":{{\"name\":\"s{number}\",\"namespace\":\"n{}\",\"uid\":\"{number}\",\"resourceVersion\":\"1\",\"labels\":{{\"app\":\"s{number}\"}}}},\
             \"spec\":{{\"type\":\"ClusterIP\",\"clusterIP\":\"{ip}\",\"clusterIPs\":[\"{ip}\"],\"ipFamilies\":[\"IPv4\"],\"ipFamilyPolicy\":\"SingleStack\",\
             \"selector\":{{\"app\":\"s{number}\"}},\"sessionAffinity\":\"None\",\"internalTrafficPolicy\":\"Cluster\",\
             \"ports\":[{{\"name\":\"http\",\"protocol\":\"TCP\",\"port\":80,\"targetPort\":8080}}]}},\"status\":{{\"loadBalancer\":{{}}}}}}",
            number % 100
        )
    }

    /// The service's one slice; without its last endpoint when `whole` is false.
    pub fn slice(self, number: u32, whole: bool) -> String {
        let mut endpoints = String::new();
        let count = if whole { self.endpoints } else { self.endpoints - 1 };
        for at in 0..count {
            let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + number * self.endpoints + at);
            let comma = if at == 0 { "" } else { "," };
            let _ = write!(
                endpoints,
                "{comma}{{\"addresses\":[\"{ip}\"],\"conditions\":{{\"ready\":true,\"serving\":true,\"terminating\":false}},\"nodeName\":\"worker-{}\",\
                 \"targetRef\":{{\"kind\":\"Pod\",\"namespace\":\"n\",\"name\":\"s{number}-{at}\"}}}}",
                at % 100
            );
        }
        format!(
            "{{\"metadata\":{{\"name\":\"s{number}-abcde\",\"namespace\":\"n{}\",\"labels\":{{\"kubernetes.io/service-name\":\"s{number}\"}}}},\
             \"addressType\":\"IPv4\",\"ports\":[{{\"name\":\"http\",\"protocol\":\"TCP\",\"port\":8080}}],\"endpoints\":[{endpoints}]}}",
            number % 100
        )
    }
}
