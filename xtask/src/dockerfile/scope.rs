//! The variables of a stage, instruction by instruction.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::base::Globals;
use crate::dockerfile::expand::{NoValue, Value, expand};
use crate::dockerfile::instruction::{Arg, Dockerfile, Instruction, Kind, Stage};

/// What the variables of a stage stand for at one place of it.
#[derive(Clone, Debug)]
pub struct Scope {
    values: BTreeMap<String, Value>,
    /// What every other variable is.
    others: Value,
    escape: char,
}

impl Scope {
    /// Nothing is known: what an image from elsewhere brings along.
    pub fn unknown(escape: char) -> Scope {
        Scope { values: BTreeMap::new(), others: Value::Unknown, escape }
    }

    fn scratch(escape: char) -> Scope {
        // BuildKit gives every image a PATH.
        Scope { values: BTreeMap::from([("PATH".to_owned(), Value::Unknown)]), others: Value::Unset, escape }
    }

    pub fn escape(&self) -> char {
        self.escape
    }

    fn value(&self, name: &str) -> Value {
        self.values.get(name).unwrap_or(&self.others).clone()
    }

    /// The word with its variables replaced.
    pub fn expand(&self, word: &str) -> Result<String, NoValue> {
        expand(word, self.escape, &|name| self.value(name)).map(|expanded| expanded.text)
    }

    fn expanded_value(&self, word: &str) -> Value {
        self.expand(word).map_or(Value::Unknown, Value::Set)
    }

    /// `ARG`: a build argument wins over the default, and the default over the `ARG` before the first `FROM`. Without
    /// any of them the variable stays what it was.
    fn declare(&mut self, arg: &Arg, args: &BTreeMap<String, String>, globals: &Globals) {
        let value = match (args.get(&arg.name), &arg.default) {
            (Some(value), _) => Value::Set(value.clone()),
            (None, Some(default)) => self.expanded_value(default),
            (None, None) => globals.value(&arg.name),
        };
        if value != Value::Unset {
            self.values.insert(arg.name.clone(), value);
        }
    }

    /// `ENV`: all values of one instruction see the variables from before it. Whether `ENV` or `ARG`, the last one wins.
    fn set(&mut self, pairs: &[(String, String)]) {
        let before = self.clone();
        for (name, value) in pairs {
            match before.expand(name) {
                Ok(name) => drop(self.values.insert(name, before.expanded_value(value))),
                Err(_) => *self = Scope::unknown(self.escape),
            }
        }
    }
}

/// Calls `visit` with every instruction of every stage and the variables as they are there.
///
/// Instructions that `ONBUILD` holds back run in another stage or build: nothing is known about their variables.
pub fn each<'a>(
    dockerfile: &'a Dockerfile,
    args: &BTreeMap<String, String>,
    globals: &Globals,
    visit: &mut dyn FnMut(&'a Instruction, &Scope),
) {
    let mut ends: BTreeMap<&str, Scope> = BTreeMap::new();
    for stage in &dockerfile.stages {
        let mut scope = beginning(stage, dockerfile.escape, globals, &ends);
        let mut triggers = BTreeSet::new();
        for instruction in &stage.instructions {
            visit(instruction, &scope);
            match &instruction.kind {
                Kind::Arg(list) => list.iter().for_each(|arg| scope.declare(arg, args, globals)),
                Kind::Env(pairs) => scope.set(pairs),
                Kind::Onbuild(kind) => drop(triggers.insert(matches!(**kind, Kind::Arg(_) | Kind::Env(_)))),
                Kind::Copy(_) | Kind::Run(_) | Kind::Other => {}
            }
        }
        if let Some(name) = &stage.name {
            // Triggers that set variables run at the beginning of the stages that build on this one.
            let end = if triggers.contains(&true) { Scope::unknown(dockerfile.escape) } else { scope };
            ends.insert(name, end);
        }
    }
}

fn beginning(stage: &Stage, escape: char, globals: &Globals, ends: &BTreeMap<&str, Scope>) -> Scope {
    match expand(&stage.image, escape, &|name| globals.value(name)) {
        Ok(image) if ends.contains_key(image.text.as_str()) => ends[image.text.as_str()].clone(),
        Ok(image) if image.text == "scratch" => Scope::scratch(escape),
        _ => Scope::unknown(escape),
    }
}
