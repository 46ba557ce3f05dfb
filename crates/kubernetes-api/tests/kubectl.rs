//! What kubectl users do, with Debian's kubectl 1.20 and with the one on the PATH.

mod support;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use support::{Kubectl, Server};

#[test]
fn server_process() {
    support::server_process();
}

#[test]
fn verbs_of_debians_kubectl_1_20() {
    let program = support::kubectl_1_20();
    let server = Server::start();
    let version = Kubectl::new(program.clone(), &server).ok("version --client --short");
    assert!(version.contains("v1.20"), "{version}");
    verbs(program, &server);
}

#[test]
fn verbs_of_the_kubectl_on_the_path() {
    let Some(program) = support::kubectl_on_the_path() else {
        eprintln!("NOT RUN: there is no kubectl on the PATH");
        return;
    };
    verbs(program, &Server::start());
}

const DEPLOYMENT: &str = include_str!("../../../examples/spink/deployment.yaml");
const SERVICE: &str = include_str!("../../../examples/spink/service-nodeport.yaml");

fn verbs(program: PathBuf, server: &Server) {
    let kubectl = Kubectl::new(program, server);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");

    // discovery
    assert!(kubectl.ok("version").contains("v1.33"), "the server's version");
    assert!(kubectl.ok("api-versions").lines().any(|line| line == "apps/v1"));
    let resources = kubectl.ok("api-resources");
    for kind in ["Pod", "Deployment", "EndpointSlice", "NetworkPolicy", "CustomResourceDefinition"] {
        assert!(resources.lines().any(|line| line.ends_with(kind)), "{kind} in {resources}");
    }
    assert!(kubectl.ok("cluster-info").contains(&format!("127.0.0.1:{}", server.port)));
    assert!(kubectl.ok("get ns").lines().any(|line| line.starts_with("kube-system")));

    // apply, twice, and once more with a change
    assert!(kubectl.apply(DEPLOYMENT).contains("deployment.apps/spink created"));
    assert!(kubectl.apply(SERVICE).contains("service/spink created"));
    assert!(kubectl.apply(DEPLOYMENT).contains("unchanged"));
    assert!(kubectl.apply(SERVICE).contains("unchanged"));
    assert!(
        kubectl.apply(&DEPLOYMENT.replace("localhost/spink:1.0.1", "localhost/spink:1.0.2")).contains("configured")
    );
    let image = kubectl.ok("get deploy spink -o jsonpath={.spec.template.spec.containers[*].image}");
    assert_eq!(image, "localhost/spink:1.0.2", "one container, merged by name");
    assert_eq!(kubectl.ok("get svc spink -o jsonpath={.spec.ports[0].nodePort}"), "30080");

    // get
    let table = kubectl.ok("get deploy spink");
    assert_eq!(
        table.split_whitespace().take(5).collect::<Vec<_>>(),
        ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    );
    assert!(kubectl.ok("get deploy spink -o wide").contains("app=spink"));
    assert!(kubectl.ok("get svc").contains("80:30080/TCP"));
    assert!(kubectl.ok("get deploy spink -o yaml").contains("kind: Deployment"));
    assert!(kubectl.ok("get deploy -l app=nothing").is_empty());
    assert!(kubectl.ok("get all").contains("deployment.apps/spink"));
    assert!(kubectl.ok("get svc --field-selector metadata.name=spink -o name").trim() == "service/spink");
    assert!(kubectl.ok("get deploy,svc -A -o json").contains("\"kind\": \"List\""));

    // watch sees a change
    let mut watching = kubectl.command("get deploy spink -w").stdout(Stdio::piped()).spawn().expect("watch");
    let mut lines = BufReader::new(watching.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert!(next().starts_with("NAME"));
    assert!(next().contains("0/2"));

    // scale, label, annotate, patch, edit
    kubectl.ok("scale deploy/spink --replicas=5");
    assert!(next().contains("0/5"), "the watch shows the scaling");
    watching.kill().and_then(|()| watching.wait()).expect("end the watch");
    kubectl.ok("label deploy spink tier=web");
    kubectl.ok("annotate deploy spink note=x");
    assert!(kubectl.ok("get deploy -l tier=web -o name").contains("spink"));
    kubectl.ok(r#"patch svc spink -p {"spec":{"sessionAffinity":"ClientIP"}}"#);
    kubectl.ok(r#"patch deploy spink --type=json -p=[{"op":"remove","path":"/metadata/labels/tier"}]"#);
    kubectl.ok(r#"patch deploy spink --type=merge -p={"metadata":{"annotations":{"note":null}}}"#);
    assert_eq!(kubectl.ok("get svc spink -o jsonpath={.spec.sessionAffinityConfig.clientIP.timeoutSeconds}"), "10800");
    let edited = kubectl.command("edit deploy spink").env("EDITOR", "sed -i s/1.0.2/1.0.3/").output().expect("edit");
    assert!(edited.status.success(), "{}", String::from_utf8_lossy(&edited.stderr));
    assert!(kubectl.ok("get deploy spink -o yaml").contains("spink:1.0.3"));

    // rollout and wait follow the status that a controller writes
    let generation: i64 = kubectl.ok("get deploy spink -o jsonpath={.metadata.generation}").parse().expect("a number");
    kubectl.ok("rollout restart deploy/spink");
    let restarted: i64 = kubectl.ok("get deploy spink -o jsonpath={.metadata.generation}").parse().expect("a number");
    assert_eq!(restarted, generation + 1, "generation moves with the spec");
    assert!(kubectl.fails("rollout status deploy/spink --timeout=1s").contains("timed out"));
    assert!(kubectl.fails("wait --for=condition=Available deploy/spink --timeout=1s").contains("timed out"));
    runtime.block_on(roll_out(server, restarted));
    assert!(kubectl.ok("rollout status deploy/spink --timeout=5s").contains("successfully rolled out"));
    kubectl.ok("wait --for=condition=Available deploy/spink --timeout=5s");
    let after: i64 = kubectl.ok("get deploy spink -o jsonpath={.metadata.generation}").parse().expect("a number");
    assert_eq!(after, restarted, "and not with the status");
    assert!(kubectl.ok("describe deploy spink").contains("5 desired | 5 updated | 5 total | 5 available"));
    assert!(kubectl.ok("describe svc spink").contains("NodePort"));

    // create: typed and from files
    kubectl.ok("create ns other");
    kubectl.ok("create cm settings --from-literal=a=b -n other");
    assert_eq!(kubectl.ok("get cm settings -n other -o jsonpath={.data.a}"), "b");
    kubectl.ok("create deployment echo --image=malla.dev/echo -n other");
    kubectl.ok("expose deploy echo --port=80 --target-port=8080 -n other");
    assert!(kubectl.fails("create ns other").contains("already exists"));
    kubectl.ok("delete cm settings -n other");
    kubectl.ok("delete ns other --timeout=20s");
    assert!(kubectl.fails("get ns other").contains("not found"));

    // refusals name the field
    let bad = SERVICE.replace("name: spink", "name: second");
    let taken = kubectl.with_input("apply -f -", &bad);
    let complaint = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(!taken.status.success() && complaint.contains("provided port is already allocated"), "{complaint}");
    let wrong = kubectl.with_input("create -f -", &DEPLOYMENT.replace("app: spink", "app: Not_valid!"));
    assert!(!wrong.status.success(), "an impossible label is refused");

    // dry run leaves nothing
    let dry = kubectl.with_input("apply --dry-run=server -f -", &DEPLOYMENT.replace("name: spink", "name: ghost"));
    assert!(dry.status.success(), "{}", String::from_utf8_lossy(&dry.stderr));
    assert!(kubectl.fails("get deploy ghost").contains("not found"));

    // server-side apply: two managers, a conflict, force
    let two_replicas = DEPLOYMENT.replace("name: spink\n", "name: ssa\n");
    let apply = |manager: &str, manifest: &str, more: &str| {
        kubectl.with_input(&format!("apply --server-side --field-manager={manager} {more} -f -"), manifest)
    };
    let first = apply("one", &two_replicas, "");
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(apply("one", &two_replicas, "").status.success());
    let four = two_replicas.replace("replicas: 2", "replicas: 4");
    let refused = apply("two", &four, "");
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && complaint.contains(".spec.replicas"), "{complaint}");
    assert!(apply("two", &four, "--force-conflicts").status.success());
    assert_eq!(kubectl.ok("get deploy ssa -o jsonpath={.spec.replicas}"), "4");
    kubectl.ok("delete deploy ssa");

    // delete
    kubectl.ok("delete deploy,svc spink --timeout=20s");
    assert!(kubectl.fails("get deploy spink").contains("not found"));

    custom_kinds(&kubectl);
}

async fn roll_out(server: &Server, generation: i64) {
    let deployments: Api<Deployment> = Api::default_namespaced(server.client().await);
    let status = json!({ "status": {
        "observedGeneration": generation, "replicas": 5, "updatedReplicas": 5, "readyReplicas": 5, "availableReplicas": 5,
        "conditions": [{ "type": "Available", "status": "True", "lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z" }],
    } });
    deployments
        .patch_status("spink", &PatchParams::default(), &Patch::Strategic(status))
        .await
        .expect("patch the status");
}

const CRD: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: widgets.malla.test }
spec:
  group: malla.test
  scope: Namespaced
  names: { plural: widgets, singular: widget, kind: Widget, shortNames: [wd] }
  versions:
  - name: v1
    served: true
    storage: true
    subresources: { status: {}, scale: { specReplicasPath: .spec.size, statusReplicasPath: .status.size } }
    additionalPrinterColumns: [{ name: Size, type: integer, jsonPath: .spec.size }]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: { type: object, required: [size], properties: { size: { type: integer, minimum: 0 }, color: { type: string, default: red } } }
          status: { type: object, properties: { size: { type: integer } } }
"#;

const WIDGET: &str = "apiVersion: malla.test/v1\nkind: Widget\nmetadata: { name: one }\nspec: { size: 3 }\n";

fn custom_kinds(kubectl: &Kubectl) {
    kubectl.apply(CRD);
    kubectl.ok("wait --for=condition=Established crd/widgets.malla.test --timeout=5s");
    assert!(kubectl.apply(WIDGET).contains("widget.malla.test/one created"));
    assert!(kubectl.apply(&WIDGET.replace('3', "4")).contains("configured"));
    let table = kubectl.ok("get wd");
    assert!(table.contains("SIZE") && table.contains('4'), "{table}");
    assert_eq!(kubectl.ok("get wd one -o jsonpath={.spec.color}"), "red");
    kubectl.ok("scale wd one --replicas=7");
    assert_eq!(kubectl.ok("get wd one -o jsonpath={.spec.size}"), "7");
    let wrong = kubectl.with_input("apply -f -", &WIDGET.replace('3', "-1"));
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("spec.size"));
    kubectl.ok("delete crd widgets.malla.test --timeout=20s");
    assert!(!kubectl.output("get wd").status.success());
}
