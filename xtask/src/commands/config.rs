//! `config`: where this run's images go, and where each value came from.

use serde_json::{Value, json};

use crate::cli::Format;
use crate::run::{set_output, table};
use crate::settings::{Origin, Run, Sourced};

pub fn run(run: &Run, format: Format) -> anyhow::Result<()> {
    let ctx = &run.ctx;
    set_outputs(run)?;
    let rows = rows(run);
    if run.target.registry.is_none() {
        ctx.ui.status("Skipped", format!("publishing: {}", run.target.why_nowhere(ctx)));
    }
    match format {
        Format::Json => {
            let value = |row: Row| (row.key.to_owned(), json!({ "value": row.value, "source": row.source }));
            ctx.ui.data(Value::Object(rows.into_iter().map(value).collect()));
        }
        Format::Table => {
            let cells = |row: Row| vec![row.key.to_owned(), shown(&row.value), row.source];
            ctx.ui.data(table(&["KEY", "VALUE", "FROM"], &rows.into_iter().map(cells).collect::<Vec<_>>()));
        }
    }
    Ok(())
}

struct Row {
    key: &'static str,
    value: Value,
    source: String,
}

fn rows(run: &Run) -> Vec<Row> {
    let Run { config, target, .. } = run;
    let row = |key, value: Option<Value>, origin: &Origin| Row {
        key,
        source: value.as_ref().map_or(&Origin::Default, |_| origin).to_string(),
        value: value.unwrap_or_default(),
    };
    let text = |key, sourced: &Option<Sourced<String>>| {
        let value = sourced.as_ref().map(|sourced| json!(sourced.value));
        row(key, value, sourced.as_ref().map_or(&Origin::Default, |sourced| &sourced.origin))
    };
    let registry = target.registry.as_ref().map(|r| Sourced::new(r.value.to_string(), r.origin.clone()));
    let moving_tags = json!(target.moving_tags.iter().map(ToString::to_string).collect::<Vec<_>>());
    let of_target = target.name.as_ref().map_or(Origin::Default, |name| Origin::Target(name.value.clone()));
    let mirrors = match &config.mirror_of_setup {
        Some(_) => "Cargo.toml, JOBS_MIRRORS, and cargo xtask setup on this machine",
        None => "Cargo.toml and JOBS_MIRRORS",
    };
    vec![
        text("target", &target.name),
        text("registry", &registry),
        row("prefix", Some(json!(target.prefix.value)), &target.prefix.origin),
        row("tag", Some(json!(target.tag.value.as_str())), &target.tag.origin),
        text("role", &target.role),
        text("region", &target.region),
        row("moving-tags", Some(moving_tags), &of_target),
        Row { key: "mirrors", value: json!(target.mirrors), source: mirrors.to_owned() },
    ]
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        Value::Object(map) if map.is_empty() => "-".to_owned(),
        Value::Object(map) => map.iter().map(|(k, v)| format!("{k}={}", shown(v))).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// No registry host and no account number among them: GitHub silently drops an output that holds a masked value.
fn set_outputs(run: &Run) -> anyhow::Result<()> {
    let Run { ctx, target, .. } = run;
    set_output(ctx, "target", target.name.as_ref().map_or("", |name| &name.value))?;
    set_output(ctx, "tag", target.tag.value.as_str())?;
    set_output(ctx, "region", target.region.as_ref().map_or("", |region| &region.value))?;
    set_output(ctx, "push", if target.registry.is_some() { "true" } else { "false" })?;
    // For steps of the same job only: it holds the account number.
    set_output(ctx, "role", target.role.as_ref().map_or("", |role| &role.value))
}
