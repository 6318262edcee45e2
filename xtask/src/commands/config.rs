//! `config`: where this run's images go, and where each value came from.

use serde_json::{Value, json};

use crate::cli::{Config as Args, Format};
use crate::run::context::Context;
use crate::run::github::Outputs;
use crate::run::report::table;
use crate::settings::config::Config;
use crate::settings::target::{Source, Sourced, Target};

pub fn run(ctx: &Context, config: &Config, args: &Args) -> anyhow::Result<()> {
    let target = Target::resolve(ctx, config, &args.destination)?;
    outputs(ctx, &target).write()?;
    let rows = rows(config, &target);
    if target.registry.is_none() {
        ctx.ui.status("Skipped", format!("publishing: {}", target.why_nowhere(ctx)));
    }
    match args.format {
        Format::Json => {
            let values: serde_json::Map<String, Value> = rows
                .into_iter()
                .map(|row| (row.key.to_owned(), json!({ "value": row.value, "source": row.source })))
                .collect();
            ctx.ui.data(Value::Object(values));
        }
        Format::Table => {
            let rows: Vec<Vec<String>> =
                rows.into_iter().map(|row| vec![row.key.to_owned(), shown(&row.value), row.source]).collect();
            ctx.ui.data(table(&["KEY", "VALUE", "FROM"], &rows));
        }
    }
    Ok(())
}

struct Row {
    key: &'static str,
    value: Value,
    source: String,
}

fn rows(config: &Config, target: &Target) -> Vec<Row> {
    let text = |key, value: Option<(String, &Source)>| match value {
        Some((value, source)) => Row { key, value: json!(value), source: source.to_string() },
        None => Row { key, value: Value::Null, source: Source::Default.to_string() },
    };
    let optional =
        |key, value: &Option<Sourced<String>>| text(key, value.as_ref().map(|v| (v.value.clone(), &v.source)));
    let of_target = match &target.name {
        Some(name) => Source::Target(name.value.clone()).to_string(),
        None => Source::Default.to_string(),
    };
    let mirrors = match &config.mirror_of_setup {
        Some(_) => "Cargo.toml, JOBS_MIRRORS, and cargo xtask setup on this machine",
        None => "Cargo.toml and JOBS_MIRRORS",
    };
    vec![
        optional("target", &target.name),
        text("registry", target.registry.as_ref().map(|r| (r.value.to_string(), &r.source))),
        text("prefix", Some((target.prefix.value.clone(), &target.prefix.source))),
        text("tag", Some((target.tag.value.to_string(), &target.tag.source))),
        optional("role", &target.role),
        optional("region", &target.region),
        Row {
            key: "moving-tags",
            value: json!(target.moving_tags.iter().map(ToString::to_string).collect::<Vec<_>>()),
            source: of_target,
        },
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
fn outputs<'a>(ctx: &'a Context, target: &Target) -> Outputs<'a> {
    let mut outputs = Outputs::new(ctx);
    outputs.set("target", target.name.as_ref().map_or("", |name| &name.value));
    outputs.set("tag", target.tag.value.as_str());
    outputs.set("region", target.region.as_ref().map_or("", |region| &region.value));
    outputs.set("push", if target.registry.is_some() { "true" } else { "false" });
    // For steps of the same job only: it holds the account number.
    outputs.set("role", target.role.as_ref().map_or("", |role| &role.value));
    outputs
}
