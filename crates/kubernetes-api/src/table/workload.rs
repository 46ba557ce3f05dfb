use super::columns::{created, name};
use super::pod::between;
use super::{Column, Printer, age};
use crate::object;
use crate::selectors::selector_object_text;
use serde_json::Value;

fn number(object: &Value, pointer: &str) -> Value {
    object::number(object, pointer).unwrap_or(0).into()
}

/// Names and images of the template's containers, and the selector: what `-o wide` adds.
fn wide(object: &Value, template: &str) -> [Value; 3] {
    let containers = object::list(object, &format!("{template}/spec/containers"));
    let join = |field: &str| containers.iter().filter_map(|one| one[field].as_str()).collect::<Vec<_>>().join(",");
    [join("name").into(), join("image").into(), selector_object_text(&object["spec"]["selector"]).into()]
}

pub const DEPLOYMENTS: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("Ready", "string", 0),
        Column("Up-to-date", "string", 0),
        Column("Available", "string", 0),
        Column("Age", "string", 0),
        Column("Containers", "string", 1),
        Column("Images", "string", 1),
        Column("Selector", "string", 1),
    ],
    cells: |object| {
        let ready = format!("{}/{}", number(object, "/status/readyReplicas"), number(object, "/spec/replicas"));
        let mut cells = vec![
            name(object),
            ready.into(),
            number(object, "/status/updatedReplicas"),
            number(object, "/status/availableReplicas"),
            created(object),
        ];
        cells.extend(wide(object, "/spec/template"));
        cells
    },
};

const REPLICA_COLUMNS: &[Column] = &[
    Column("Name", "string", 0),
    Column("Desired", "integer", 0),
    Column("Current", "integer", 0),
    Column("Ready", "integer", 0),
    Column("Age", "string", 0),
    Column("Containers", "string", 1),
    Column("Images", "string", 1),
    Column("Selector", "string", 1),
];

fn replica_cells(object: &Value) -> Vec<Value> {
    let mut cells = vec![
        name(object),
        number(object, "/spec/replicas"),
        number(object, "/status/replicas"),
        number(object, "/status/readyReplicas"),
        created(object),
    ];
    cells.extend(wide(object, "/spec/template"));
    cells
}

pub const REPLICA_SETS: Printer = Printer { columns: REPLICA_COLUMNS, cells: replica_cells };
pub const REPLICATION_CONTROLLERS: Printer = Printer { columns: REPLICA_COLUMNS, cells: replica_cells };

pub const DAEMON_SETS: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("Desired", "integer", 0),
        Column("Current", "integer", 0),
        Column("Ready", "integer", 0),
        Column("Up-to-date", "integer", 0),
        Column("Available", "integer", 0),
        Column("Node Selector", "string", 0),
        Column("Age", "string", 0),
        Column("Containers", "string", 1),
        Column("Images", "string", 1),
        Column("Selector", "string", 1),
    ],
    cells: |object| {
        let selector = selector_object_text(&object["spec"]["template"]["spec"]["nodeSelector"]);
        let mut cells = vec![
            name(object),
            number(object, "/status/desiredNumberScheduled"),
            number(object, "/status/currentNumberScheduled"),
            number(object, "/status/numberReady"),
            number(object, "/status/updatedNumberScheduled"),
            number(object, "/status/numberAvailable"),
            if selector.is_empty() { "<none>".into() } else { selector.into() },
            created(object),
        ];
        cells.extend(wide(object, "/spec/template"));
        cells
    },
};

pub const STATEFUL_SETS: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("Ready", "string", 0),
        Column("Age", "string", 0),
        Column("Containers", "string", 1),
        Column("Images", "string", 1),
    ],
    cells: |object| {
        let ready = format!("{}/{}", number(object, "/status/readyReplicas"), number(object, "/spec/replicas"));
        let [containers, images, _] = wide(object, "/spec/template");
        vec![name(object), ready.into(), created(object), containers, images]
    },
};

pub const JOBS: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("Status", "string", 0),
        Column("Completions", "string", 0),
        Column("Duration", "string", 0),
        Column("Age", "string", 0),
    ],
    cells: |object| {
        let holds = |kind: &str| {
            object::list(object, "/status/conditions").iter().any(|one| one["type"] == kind && one["status"] == "True")
        };
        let status = match () {
            () if holds("Complete") => "Complete",
            () if holds("Failed") => "Failed",
            () if object::is_deleting(object) => "Terminating",
            () if holds("Suspended") => "Suspended",
            () => "Running",
        };
        let completions = format!("{}/{}", number(object, "/status/succeeded"), number(object, "/spec/completions"));
        let took = between(&object["status"]["startTime"], &object["status"]["completionTime"]);
        vec![name(object), status.into(), completions.into(), took.into(), created(object)]
    },
};

pub const CRON_JOBS: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("Schedule", "string", 0),
        Column("Suspend", "boolean", 0),
        Column("Active", "integer", 0),
        Column("Last Schedule", "string", 0),
        Column("Age", "string", 0),
    ],
    cells: |object| {
        let last = &object["status"]["lastScheduleTime"];
        let suspend = if object["spec"]["suspend"] == true { "True" } else { "False" };
        vec![
            name(object),
            object["spec"]["schedule"].clone(),
            suspend.into(),
            object::list(object, "/status/active").len().into(),
            if last.is_null() { "<none>".into() } else { age(last).into() },
            created(object),
        ]
    },
};

pub const DISRUPTION_BUDGETS: Printer = Printer {
    columns: &[
        Column("Name", "string", 0),
        Column("Min Available", "string", 0),
        Column("Max Unavailable", "string", 0),
        Column("Allowed Disruptions", "integer", 0),
        Column("Age", "string", 0),
    ],
    cells: |object| {
        let shown = |field: &str| match &object["spec"][field] {
            Value::Null => "N/A".into(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        vec![
            name(object),
            shown("minAvailable").into(),
            shown("maxUnavailable").into(),
            number(object, "/status/disruptionsAllowed"),
            created(object),
        ]
    },
};
