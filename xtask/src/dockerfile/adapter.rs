use super::ignore::Ignore;
use super::inputs::Inputs;
use super::instruction::{Dockerfile, Fault};
use crate::model::arch::Arch;
use crate::model::key::TreeEntry;
use std::collections::BTreeMap;
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub written: String,
    pub line: Option<usize>,
    pub role: BaseRole,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseRole {
    Image,
    Frontend,
}
impl Dockerfile {
    pub fn stage_names(&self) -> Vec<&str> {
        self.stages.iter().filter_map(|s| s.name.as_deref()).collect()
    }
    pub fn bases(&self, args: &BTreeMap<String, String>, arches: &[Arch]) -> Result<Vec<Base>, Vec<Fault>> {
        let mut all: Vec<Base> = Vec::new();
        for &t in arches {
            for b in Arch::ALL {
                for base in super::base::bases(self, args, t, b)? {
                    if !all.iter().any(|x| x.written == base.written) {
                        all.push(Base { written: base.written, line: Some(base.line), role: BaseRole::Image });
                    }
                }
            }
        }
        if let Some(image) = args.get("BUILDKIT_SYNTAX") {
            all.push(Base { written: image.clone(), line: None, role: BaseRole::Frontend });
        } else if let Some(s) = &self.syntax {
            all.push(Base { written: s.image.clone(), line: Some(s.line), role: BaseRole::Frontend });
        }
        Ok(all)
    }
    pub fn inputs(&self, args: &BTreeMap<String, String>, arches: &[Arch]) -> Inputs {
        arches
            .iter()
            .map(|&a| super::inputs::inputs(self, args, a, a))
            .reduce(Inputs::and)
            .unwrap_or(Inputs::Sources(Default::default()))
    }
    pub fn foreign_platforms(&self, _: &BTreeMap<String, String>, _: &[Arch], _: Option<&str>) -> Vec<Fault> {
        Vec::new()
    }
}
impl Inputs {
    pub fn select<'a>(&self, entries: &'a [TreeEntry], ignore: &Ignore) -> super::Selection<'a> {
        super::inputs::select(self, entries, ignore)
    }
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        match self {
            Inputs::Whole { .. } => None,
            Inputs::Sources(s) => Some(s.iter().map(|s| s.path.as_str())),
        }
        .into_iter()
        .flatten()
    }
}
pub fn allow_list<'a>(paths: impl Iterator<Item = &'a [u8]>) -> String {
    let mut out = "*\n".to_owned();
    for p in paths {
        out.push('!');
        out.push_str(&String::from_utf8_lossy(p));
        out.push('\n');
    }
    out
}
