//! Ends of flows that are no Pods of the policy's own: nodes, the API server, what is outside, what stands behind a Service.

use super::*;

const OUTSIDE: From = From::Node("outside");
const CONTROL_PLANE: From = From::Node("control-plane");
const OTHER_NODE: From = From::Node("worker-2");
/// A Pod of the node, two of another, and everybody who is no Pod.
const EVERYBODY: [From; 7] =
    [From::Pod("near"), From::Pod("far"), From::Pod("stranger"), NODE, OTHER_NODE, CONTROL_PLANE, OUTSIDE];
/// The port of the Pod in the host's network of worker-1.
const PORT: u16 = 9080;

fn node_addresses(cluster: &Cluster, node: &str) -> [String; 2] {
    let path = "jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}";
    let all = cluster.kubectl(&["get", "node", node, "-o", path]);
    let mut addresses: Vec<String> = all.split_whitespace().map(str::to_owned).collect();
    addresses.sort_by_key(|address| address.contains(':'));
    addresses.try_into().expect("an address of each family")
}

/// Who reaches the node's own port. Its processes always do: they never leave it.
fn at_the_node(cluster: &Cluster, what: &str, others: &[From]) {
    let allowed: Vec<From> = others.iter().copied().chain([NODE]).collect();
    expect_at(cluster, what, &node_addresses(cluster, "worker-1"), PORT, &EVERYBODY, &allowed);
}

fn policy(cluster: &Cluster, spec: &str) {
    apply(
        cluster,
        &format!(
            "{{apiVersion: cilium.io/v2, kind: CiliumClusterwideNetworkPolicy, metadata: {{name: nodes}}, spec: {{{spec}}}}}"
        ),
    );
}

fn withdraw(cluster: &Cluster) {
    cluster.kubectl(&["delete", "ciliumclusterwidenetworkpolicies.cilium.io", "nodes"]);
}

pub fn nodes(cluster: &Cluster) {
    cluster.kubectl(&["label", "node", "worker-1", "rack=one"]);
    cluster.kubectl(&["label", "node", "worker-2", "rack=two"]);
    at_the_node(cluster, "without a policy about nodes", &EVERYBODY);
    older_connections(cluster);
    who_comes_in(cluster);
    where_it_goes(cluster);
    withdraw(cluster);
    at_the_node(cluster, "without a policy about nodes again", &EVERYBODY);
    never_lost(cluster);
    behind_services(cluster);
}

/// Connections that are older than the policy go on where it allows them, and only there.
fn older_connections(cluster: &Cluster) {
    let [address, _] = node_addresses(cluster, "worker-1");
    let url = format!("http://{}/", at(&address, PORT));
    let keeps_on = |pod: &'static str| {
        let mut client =
            cluster.client(From::Pod(pod), &["http", &url, "--duration", "6s", "--rate", "20", "--timeout", "2s"]);
        client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (far, stranger) = (keeps_on("far"), keeps_on("stranger"));
    std::thread::sleep(Duration::from_millis(1500));
    policy(
        cluster,
        "nodeSelector: {matchLabels: {rack: one}}, ingress: [{fromEndpoints: [{matchLabels: {place: far}}]}]",
    );
    let report = |child: std::process::Child| cluster::report(&child.wait_with_output().unwrap()).unwrap();
    let (far, stranger) = (report(far), report(stranger));
    assert_eq!(far.errors, 0, "an older connection that is allowed was disturbed: {far:?}");
    assert!(stranger.errors > 0, "an older connection that is not allowed went on: {stranger:?}");
}

fn who_comes_in(cluster: &Cluster) {
    let ingress =
        |rule: &str| policy(cluster, &format!("nodeSelector: {{matchLabels: {{rack: one}}}}, ingress: [{rule}]"));
    at_the_node(cluster, "a Pod by its labels", &[From::Pod("far")]);
    ingress("{fromEntities: [kube-apiserver]}");
    at_the_node(cluster, "the API server's node", &[CONTROL_PLANE]);
    ingress("{fromEntities: [remote-node]}");
    at_the_node(cluster, "other nodes", &[OTHER_NODE, CONTROL_PLANE]);
    ingress("{fromNodes: [{matchLabels: {rack: two}}]}");
    at_the_node(cluster, "a node by its labels", &[OTHER_NODE]);
    cluster.kubectl(&["label", "node", "worker-2", "rack=three", "--overwrite"]);
    at_the_node(cluster, "which has others now", &[]);
    ingress("{fromEntities: [world]}");
    at_the_node(cluster, "the world", &[OUTSIDE]);
    ingress(r#"{fromCIDRSet: [{cidr: 203.0.113.0/24, except: [203.0.113.2/32]}, {cidr: "2001:db8:113::/64"}]}"#);
    let [v4, v6] = node_addresses(cluster, "worker-1").map(|address| format!("http://{}/", at(&address, PORT)));
    wait_until("the exception", PATIENCE, || !answers(cluster, OUTSIDE, &v4) && answers(cluster, OUTSIDE, &v6));
    ingress("{fromEntities: [cluster]}");
    let everybody_inside = [From::Pod("near"), From::Pod("far"), From::Pod("stranger"), OTHER_NODE, CONTROL_PLANE];
    at_the_node(cluster, "the cluster", &everybody_inside);
    // The node is another one now: nothing is about it any more.
    cluster.kubectl(&["label", "node", "worker-1", "rack=four", "--overwrite"]);
    at_the_node(cluster, "a node that no policy selects any more", &EVERYBODY);
    cluster.kubectl(&["label", "node", "worker-1", "rack=one", "--overwrite"]);
    at_the_node(cluster, "and is selected again", &everybody_inside);
}

/// The node's own egress, to Pods of its own and of another node.
fn where_it_goes(cluster: &Cluster) {
    policy(
        cluster,
        "nodeSelector: {matchLabels: {rack: one}}, egress: [{toEndpoints: [{matchLabels: {app: elsewhere}}]}]",
    );
    let clients = [NODE, OTHER_NODE, From::Pod("near")];
    let [elsewhere, server] = ["elsewhere", "server"].map(|pod| cluster.pod_addresses(pod));
    expect_at(cluster, "a Pod elsewhere that the node may ask", &elsewhere, 8080, &clients, &clients);
    expect_at(cluster, "its own Pod that it may not", &server, 8080, &clients, &[OTHER_NODE, From::Pod("near")]);
    // What comes in is answered: only egress is governed.
    at_the_node(cluster, "ingress is free", &EVERYBODY);
}

/// Everything is denied to every node, and all of them go on: the API by connections old and new, the tunnel, and with
/// both what policies say from here on.
fn never_lost(cluster: &Cluster) {
    policy(cluster, "nodeSelector: {}, ingressDeny: [{fromEntities: [all]}], egressDeny: [{toEntities: [all]}]");
    at_the_node(cluster, "nothing may come in", &[]);
    expect(
        cluster,
        "Pods of two nodes, and not nodes",
        8080,
        &[From::Pod("near"), From::Pod("far"), From::Pod("stranger")],
    );
    let nodes = cluster.status()["nodes"].clone();
    for node in nodes.as_array().unwrap() {
        let agent = node["agent"]["pid"].as_i64().expect("its agent runs");
        let killed = Command::new("kill").args(["-KILL", &agent.to_string()]).status().unwrap();
        assert!(killed.success());
    }
    // Agents that have to connect anew hear of it.
    apply(
        cluster,
        r#"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: server},
           spec: {podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {place: far}}}]}]}}"#,
    );
    expect(cluster, "a policy that came later", 8080, &[From::Pod("far")]);
    wait_until("every node is ready", Duration::from_secs(60), || {
        let path = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
        cluster.kubectl(&["get", "nodes", "-o", path]).split_whitespace().all(|word| word == "True")
    });
    at_the_node(cluster, "still nothing may come in", &[]);
    withdraw(cluster);
    cluster.kubectl(&["delete", "networkpolicy", "server"]);
    at_the_node(cluster, "everything may come in again", &EVERYBODY);
    expect(cluster, "and reach the Pod", 8080, &ALL);
}

fn behind_services(cluster: &Cluster) {
    let [v4, v6] = node_addresses(cluster, "worker-1");
    let slice = |address: &str| {
        let object = format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
              metadata: {{name: mainframe-1, labels: {{kubernetes.io/service-name: mainframe}}}}, \
              endpoints: [{{addresses: [{address}]}}], ports: [{{port: {PORT}, protocol: TCP}}]}}"
        );
        apply(cluster, &object);
    };
    apply(
        cluster,
        "{apiVersion: v1, kind: Service, metadata: {name: mainframe, labels: {tier: old}}, spec: {ports: [{port: 80}]}}",
    );
    slice(&v4);
    apply(
        cluster,
        r#"{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: far},
           spec: {endpointSelector: {matchLabels: {place: far}}, egress: [
             {toServices: [{k8sService: {serviceName: server}}]},
             {toServices: [{k8sServiceSelector: {selector: {matchLabels: {tier: old}}}}]}]}}"#,
    );
    let (far, elsewhere) = (From::Pod("far"), cluster.pod_addresses("elsewhere"));
    expect(cluster, "the Pods of a Service", 8080, &ALL);
    expect_at(cluster, "which others are not", &elsewhere, 8080, &[far, From::Pod("near")], &[From::Pod("near")]);
    let [v4_url, v6_url] = [&v4, &v6].map(|address| format!("http://{}/", at(address, PORT)));
    wait_until("the address of a Service without a selector", PATIENCE, || answers(cluster, far, &v4_url));
    assert!(!answers(cluster, far, &v6_url), "no slice names it");
    slice("203.0.113.9");
    wait_until("an address that is no more the Service's", PATIENCE, || !answers(cluster, far, &v4_url));
    slice(&v4);
    wait_until("and is again", PATIENCE, || answers(cluster, far, &v4_url));
    cluster.kubectl(&["label", "service", "mainframe", "tier=new", "--overwrite"]);
    wait_until("a Service that is not selected any more", PATIENCE, || !answers(cluster, far, &v4_url));
    cluster.kubectl(&["delete", "ciliumnetworkpolicies.cilium.io", "far"]);
    cluster.kubectl(&["delete", "service", "mainframe"]);
    prefixes(cluster);
    expect(cluster, "without policies after the nodes'", 8080, &ALL);
}

/// Prefixes over Pods, nodes and the world; groups of them as they are now.
fn prefixes(cluster: &Cluster) {
    let group = |site: &str, prefixes: &str| {
        let object = format!(
            "{{apiVersion: cilium.io/v2, kind: CiliumCIDRGroup, metadata: {{name: sites, labels: {{site: {site}}}}}, \
              spec: {{externalCIDRs: [{prefixes}]}}}}"
        );
        apply(cluster, &object);
    };
    group("north", "203.0.113.0/24");
    let outside = "http://172.18.0.4:30280/";
    for reference in ["cidrGroupRef: sites", "cidrGroupSelector: {matchLabels: {site: north}}"] {
        apply(
            cluster,
            &format!(
                "{{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {{name: server}}, \
                  spec: {{endpointSelector: {{matchLabels: {{app: server}}}}, \
                  ingress: [{{fromCIDRSet: [{{{reference}}}, {{cidr: 10.0.0.0/8}}, {{cidr: 172.16.0.0/12}}]}}]}}}}"
            ),
        );
        // As in Cilium, prefixes are about what is outside: not about Pods and nodes in them.
        expect(cluster, reference, 8080, &[NODE]);
        wait_until(reference, PATIENCE, || answers(cluster, OUTSIDE, outside));
        group("north", "198.51.100.0/24");
        wait_until("the group lost the prefix", PATIENCE, || !answers(cluster, OUTSIDE, outside));
        group("north", "203.0.113.0/24");
        wait_until("and has it again", PATIENCE, || answers(cluster, OUTSIDE, outside));
    }
    group("south", "203.0.113.0/24");
    wait_until("the group is not selected any more", PATIENCE, || !answers(cluster, OUTSIDE, outside));
    cluster.kubectl(&["annotate", "ciliumnetworkpolicies.cilium.io", "server", "malla.dev/cidr-matches=all"]);
    let v4 = cluster.pod_addresses("server")[0].clone();
    let url = format!("http://{}/", at(&v4, 8080));
    for who in [From::Pod("near"), From::Pod("far"), OTHER_NODE] {
        wait_until("a prefix that is about everybody", PATIENCE, || answers(cluster, who, &url));
    }
    cluster.kubectl(&["delete", "ciliumnetworkpolicies.cilium.io", "server"]);
    cluster.kubectl(&["delete", "ciliumcidrgroups.cilium.io", "sites"]);
}
