//! BuildKit as the judge of inputs: each file of a tree is changed in turn, and the key has to change where the image does.

use std::os::unix::fs::{PermissionsExt, symlink};

use crate::harness::{TempDir, Tree, docker, mirrors};

const DOCKERFILE: &str = r#"# syntax is BuildKit's own
ARG DIR=named
FROM busybox:1.37 AS tools
COPY jobs/job/tool.sh /tool.sh
FROM busybox:1.37
ARG DIR
ARG WHICH=one
COPY jobs/job/plain.txt /files/
COPY ["jobs/job/with space.txt", "/files/"]
COPY ["jobs/job/json form.txt", "/json.txt"]
COPY jobs/job/tree /tree
COPY jobs/conf/*.conf /conf/
COPY jobs/${DIR}/by-argument.txt /
COPY jobs/job/$WHICH.txt /which.txt
ADD jobs/job/added.tar /added/
COPY jobs/job/größe.txt /
COPY --chmod=0555 jobs/lib /lib/own
COPY --from=tools /tool.sh /tool.sh
COPY <<EOF /heredoc.txt
COPY jobs/job/not-copied.txt /
EOF
RUN cat <<EOF > /run.txt && echo done
COPY jobs/job/not-copied.txt /
EOF
RUN --mount=type=bind,source=jobs/job/bound.txt,target=/b cp /b /bound.txt
RUN --mount=type=bind,src=jobs/bound,dst=/b cat /b/* > /bound-dir.txt
"#;

/// Paths, and whether they can reach the image.
const FILES: [(&str, bool); 19] = [
    ("jobs/job/tool.sh", true),
    ("jobs/job/plain.txt", true),
    ("jobs/job/with space.txt", true),
    ("jobs/job/json form.txt", true),
    ("jobs/job/tree/a", true),
    ("jobs/job/tree/deep/b", true),
    ("jobs/job/tree/ignored.log", false),
    ("jobs/conf/x.conf", true),
    ("jobs/named/by-argument.txt", true),
    ("jobs/job/one.txt", true),
    ("jobs/job/two.txt", false),
    ("jobs/job/added.tar", true),
    ("jobs/job/größe.txt", true),
    ("jobs/lib/util.sh", true),
    ("jobs/job/not-copied.txt", false),
    ("jobs/job/bound.txt", true),
    ("jobs/bound/c", true),
    ("jobs/job-other/plain.txt", false),
    ("README.md", false),
];

struct Judge {
    tree: Tree,
    out: TempDir,
}

impl Judge {
    fn new() -> Judge {
        let tree = Tree::new(&[("jobs/job/Dockerfile", DOCKERFILE), (".dockerignore", "**/*.log\n.git\ntarget\n")]);
        for (path, _) in FILES {
            tree.write(path, "1\n");
        }
        symlink("a", tree.path().join("jobs/job/tree/link")).unwrap();
        tree.commit("files");
        Judge { tree, out: TempDir::new() }
    }

    fn key(&self) -> String {
        let plan = self.tree.run(&["plan", "--format", "json"]).ended(0).stdout;
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
        assert_eq!(plan[0]["whole-context"], serde_json::Value::Null, "{plan}");
        plan[0]["key"].as_str().unwrap_or_else(|| panic!("{plan}")).to_owned()
    }

    /// The digest of the image's files, whatever their times.
    fn image(&self) -> String {
        let mirror = mirrors().trim_start_matches("docker.io=").to_owned();
        let context = format!("busybox:1.37=docker-image://{mirror}/library/busybox:1.37");
        let dir = self.tree.path().to_str().unwrap();
        let dockerfile = format!("{dir}/jobs/job/Dockerfile");
        let out = self.out.0.join("out");
        let _ = std::fs::remove_dir_all(&out);
        let output = format!("type=local,dest={}", out.display());
        let mut args = vec!["buildx", "build", "--quiet", "-f", &dockerfile, "--output", &output];
        if !mirror.is_empty() {
            args.extend(["--build-context", &context]);
        }
        args.push(dir);
        docker(&args);
        let list = std::process::Command::new("sh")
            .args([
                "-c",
                "find . \\( -type f -o -type l \\) ! -path './bin/*' -printf '%p %m %l\\n' | sort; \
                          find . -type f ! -path './bin/*' -exec sha256sum {} + | sort -k2",
            ])
            .current_dir(&out)
            .output()
            .unwrap();
        String::from_utf8_lossy(&list.stdout).into_owned()
    }

    /// Changes something, and asks both.
    fn changed(&self, what: &str, change: impl FnOnce(), before: &mut (String, String)) -> (bool, bool) {
        change();
        self.tree.commit(what);
        let after = (self.key(), self.image());
        let changed = (after.0 != before.0, after.1 != before.1);
        *before = after;
        changed
    }
}

#[test]
fn the_key_changes_where_the_image_does() {
    let judge = Judge::new();
    let mut before = (judge.key(), judge.image());
    assert!(before.1.contains("added.tar") || before.1.contains("plain.txt"), "{}", before.1);
    for (path, reaches) in FILES {
        let changed = judge.changed(path, || judge.tree.write(path, "2\n"), &mut before);
        assert_eq!(changed, (reaches, reaches), "{path}: key, image");
    }
    let own = |path: &str| judge.tree.path().join(path);
    let executable = || std::fs::set_permissions(own("jobs/job/tree/a"), PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(judge.changed("the executable bit", executable, &mut before), (true, true));
    let relink = || {
        std::fs::remove_file(own("jobs/job/tree/link")).unwrap();
        symlink("deep/b", own("jobs/job/tree/link")).unwrap();
    };
    assert_eq!(judge.changed("a symbolic link", relink, &mut before), (true, true));
    let more = || judge.tree.write("jobs/conf/y.conf", "1\n");
    assert_eq!(judge.changed("a file that a pattern matches", more, &mut before), (true, true));
    std::fs::remove_file(own("jobs/job/tree/link")).unwrap();
    judge.changed("a link less", || (), &mut before);
    // A folder that is left empty would be copied, and is in no commit.
    let fewer = || std::fs::remove_dir_all(own("jobs/job/tree/deep")).unwrap();
    assert_eq!(judge.changed("a file less", fewer, &mut before), (true, true));
}
