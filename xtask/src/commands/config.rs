//! `config`: where this run's images go, and where each value came from.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cli::Format;
use crate::model::Timeouts;
use crate::run::{set_output, table};
use crate::settings::{Run, Sourced};

pub fn run(run: &Run, format: Format) -> anyhow::Result<()> {
    let Run { ctx, config, target, .. } = run;
    set_outputs(run)?;
    if target.registry.is_none() {
        ctx.ui.status("Skipped", format!("publishing: {}", target.why_nowhere(ctx)));
    }
    let moving_tags: Vec<String> = target.moving_tags.iter().map(ToString::to_string).collect();
    let of_target = target.name.as_ref().map(|name| format!("target `{}` in Cargo.toml", name.value));
    let Timeouts { read, write, build } = config.timeouts.value;
    let timeouts = json!({ "read": read.as_secs(), "write": write.as_secs(), "build": build.as_secs() });
    let rows = [
        ("target", row(target.name.as_ref())),
        ("registry", row(target.registry.as_ref())),
        ("prefix", row(Some(&target.prefix))),
        ("tag", row(Some(&target.tag))),
        ("role", row(target.role.as_ref())),
        ("environment", json!({ "value": target.environment, "source": of_target.as_deref().unwrap_or("default") })),
        ("region", row(target.region.as_ref())),
        ("moving-tags", json!({ "value": moving_tags, "source": of_target.as_deref().unwrap_or("default") })),
        ("copies", json!({ "value": target.copies, "source": of_target.as_deref().unwrap_or("default") })),
        ("mirrors", json!({ "value": target.mirrors, "source": mirrors_from(run) })),
        ("min-free-gb", row(Some(&config.min_free_gb))),
        ("timeouts", json!({ "value": timeouts, "source": config.timeouts.source })),
    ];
    match format {
        Format::Json => ctx.ui.data(Value::from_iter(rows)),
        Format::Table => {
            let cells = rows.map(|(key, row)| vec![key.to_owned(), shown(&row["value"]), shown(&row["source"])]);
            ctx.ui.data(table(ctx, &["KEY", "VALUE", "FROM"], &cells));
        }
    }
    Ok(())
}

/// Where the mirrors came from.
fn mirrors_from(Run { ctx, config, target, .. }: &Run) -> String {
    let source = |(registry, mirror): (&String, &String)| match &config.mirror_of_setup {
        Some(noted) if registry == "docker.io" && noted == mirror => "cargo xtask setup on this machine",
        _ if config.mirrors.get(registry) == Some(mirror) => "Cargo.toml",
        _ if ctx.env.get("JOBS_MIRRORS").is_some() => "JOBS_MIRRORS",
        _ => "--mirrors",
    };
    let sources: BTreeSet<&str> = target.mirrors.iter().map(source).collect();
    if sources.is_empty() { "default".to_owned() } else { sources.into_iter().collect::<Vec<_>>().join(", ") }
}

fn row<T: ToString>(sourced: Option<&Sourced<T>>) -> Value {
    let source = sourced.map_or("default", |sourced| &sourced.source);
    json!({ "value": sourced.map(|sourced| sourced.value.to_string()), "source": source })
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        Value::Object(map) => map.iter().map(|(k, v)| format!("{k}={}", shown(v))).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    if text.is_empty() { "-".to_owned() } else { text }
}

/// No registry host and no account number among them: GitHub silently drops an output that holds a masked value.
fn set_outputs(run: &Run) -> anyhow::Result<()> {
    let Run { ctx, target, .. } = run;
    set_output(ctx, "target", target.name.as_ref().map_or("", |name| &name.value))?;
    set_output(ctx, "tag", &target.tag.value.to_string())?;
    set_output(ctx, "region", target.region.as_ref().map_or("", |region| &region.value))?;
    set_output(ctx, "push", if target.registry.is_some() { "true" } else { "false" })?;
    // For steps of the same job only: it holds the account number.
    set_output(ctx, "role", target.role.as_ref().map_or("", |role| &role.value))
}
