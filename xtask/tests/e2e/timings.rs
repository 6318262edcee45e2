//! The page that draws a run's record, opened in a real browser.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use expect_test::expect;
use serde_json::{Value, json};

use crate::harness::{OWN, Registry, TempDir, python_programs};
use crate::records::{Left, three_jobs};

/// The page before a record is put in.
const PAGE: &str = include_str!("../../src/publish/record/timings.html");

/// A browser that needs no display.
fn browser() -> Command {
    const BROWSERS: [&str; 4] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
    let paths = std::env::var_os("PATH").unwrap();
    let is_there = |name: &&&str| std::env::split_paths(&paths).any(|dir| dir.join(name).is_file());
    let mut command = Command::new(BROWSERS.iter().find(is_there).expect("a browser is needed: `cargo xtask setup`"));
    // As root it has no sandbox of its own. The page is ours.
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"]);
    command
}

/// A page, opened with these flags; the folder is one that a browser may read which sees none but its user's.
fn opened(page: &str, flags: &[&str]) -> (Vec<u8>, TempDir) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("browser-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = TempDir(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
    std::fs::create_dir_all(&dir.0).unwrap();
    std::fs::write(dir.0.join("page.html"), page).unwrap();
    let profile = format!("--user-data-dir={}", dir.0.join("profile").display());
    let output = browser().args([&profile]).args(flags).arg("page.html").current_dir(&dir.0).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.stdout, dir)
}

/// What a script finds in a page once it is drawn.
fn found(page: &str, script: &str, flags: &[&str]) -> Value {
    let probe = format!(
        "<script>\n{{ {HELPERS}\nconst found = (() => {{ {script} }})();\n\
         element(document.body, 'pre', '', `found:${{encodeURIComponent(JSON.stringify(found))}}:`); }}\n\
         </script></body>"
    );
    let (dom, _) = opened(&page.replace("</body>", &probe), &[flags, &["--dump-dom"]].concat());
    let dom = String::from_utf8(dom).unwrap();
    let found = dom.split(">found:").nth(1).unwrap_or_else(|| panic!("{dom}")).split(':').next().unwrap();
    serde_json::from_str(&decoded(found)).unwrap()
}

/// Text whose `%41` are characters again.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

/// Reads bars as they are seen: where they begin and end, in percent of what they are drawn in.
const HELPERS: &str = r#"
function share(inner, outer) {
  const [a, b] = [inner, outer].map((it) => it.getBoundingClientRect());
  return [a.left - b.left, a.right - b.left].map((x) => Math.round((100 * x) / b.width)).join("-");
}
const all = (parent, selector) => [...parent.querySelectorAll(selector)];
const bars = () => all(document, ".bar").map((bar) => [
  `${bar.closest(".row").firstChild.textContent} | ${bar.className} | ${share(bar, bar.parentElement)}`,
  ...all(bar, "i").map((step) => `  ${step.title} | ${step.className} | ${share(step, bar)}`),
  ...all(bar, ".retry").map((retry) => `  ${retry.title} | ${share(retry, bar)}`),
].join("\n")).join("\n");
const column = (id, n) => all(document, `#${id} tbody tr`).map((row) => row.children[n].textContent).join(" ");
const click = (id, heading) => all(document, `#${id} button`).find((it) => it.textContent === heading).click();
"#;

/// A page that draws a record, which holds nothing that HTML would take for its own.
fn page_of(record: &Value) -> String {
    PAGE.replace("{{record}}", &record.to_string())
}

/// A run in which one image was tried twice, one failed, one was ended, and one was not to be built.
fn by_hand() -> Value {
    let step = |name: &str, start: u64, end: Option<u64>| {
        let (is_cached, has_failed) = (end == Some(start), name == "fails");
        json!({"name": name, "start": start, "end": end, "cached": is_cached, "failed": has_failed})
    };
    let image = |job: &str, result: &str, times: Option<(u64, u64)>, steps: &[Value]| {
        let (start, end) = times.unzip();
        json!({
            "job": job, "arch": "amd64", "result": result, "why": "no image yet", "start": start, "end": end,
            "retries": [], "steps": steps, "reference": "r/x:1", "digest": null, "log": "x.log",
        })
    };
    let steps = [
        step("[1/3] FROM busybox", 100, Some(100)),
        step("[2/3] COPY . .", 100, Some(100)),
        step("[3/3] RUN make", 400, Some(2400)),
        step("[other 1/1] RUN it", 400, Some(1400)),
        step("exporting to image", 2400, Some(4000)),
    ];
    let mut slow = image("slow", "built", Some((0, 4000)), &steps);
    slow["retries"] = json!([3000]);
    let failed =
        image("bad", "failed", Some((4000, 10_000)), &[step("fails", 4000, Some(9000)), step("x", 5000, None)]);
    let quick = image("quick", "built", Some((0, 900)), &[]);
    let ended = image("ended", "interrupted", Some((1000, 3000)), &[]);
    json!({
        "schema": 1, "version": "0.1.0", "command": "build", "commit": "abc", "tag": "1", "began": 0,
        "length": 10_000, "result": "failed", "published": [], "problems": [],
        "images": [slow, quick, failed, ended, image("old", "unchanged", None, &[])],
    })
}

#[test]
fn the_page_draws_what_the_record_holds_and_loads_nothing() {
    let registry = Registry::start();
    let tree = three_jobs(&registry);
    let Left { record, page, .. } = Left::by(&tree, &registry, &["build", "--arch", OWN, "--timings"], 1);
    let script = r#"
        return all(document, ".bar").map((bar) => [
          bar.closest(".row").firstChild.textContent,
          ...share(bar, bar.parentElement).split("-").map(Number),
          all(bar, "i").map((step) => step.title.replace(/: [^:]*$/, step.classList.contains("failed") ? ": failed" : "")),
        ]).concat([performance.getEntriesByType("resource").length, column("images", 2)])"#;
    let drawn = found(&page, script, &[]);
    let mut built = record["images"].as_array().unwrap().clone();
    built.retain(|image| !image["end"].is_null());
    built.sort_by_key(|image| image["start"].as_u64());
    let percent = |ms: &Value| 100.0 * ms.as_f64().unwrap() / record["length"].as_f64().unwrap();
    for (image, bar) in built.iter().zip(drawn.as_array().unwrap()) {
        let result = image["result"].as_str().unwrap();
        let label =
            format!("{} ({OWN}){}", image["job"].as_str().unwrap(), if result == "built" { "" } else { ": failed" });
        assert_eq!(bar[0], label, "{drawn}");
        for (end, at) in [("start", &bar[1]), ("end", &bar[2])] {
            assert!((percent(&image[end]) - at.as_f64().unwrap()).abs() < 2.0, "{end} of {image} at {at}");
        }
        let name = |step: &Value| {
            format!("{}{}", step["name"].as_str().unwrap(), if step["failed"] == true { ": failed" } else { "" })
        };
        let steps: Vec<String> = image["steps"].as_array().unwrap().iter().map(name).collect();
        assert_eq!(bar[3], json!(steps));
    }
    assert_eq!(built.len(), 2);
    assert_eq!((&drawn[2], &drawn[3]), (&json!(0), &json!("failed built unchanged")), "{drawn}");
    // What a shell reads stays text.
    assert!(drawn.to_string().contains("\"[1/2] RUN echo '</script><!-- <script>' && exit 3: failed\""), "{drawn}");
    assert!(!page.contains("http:") && !page.contains("https:"), "{page}");
}

#[test]
fn the_page_draws_retries_cached_steps_and_the_critical_path() {
    expect![[r#"
        slow (amd64) | bar built critical | 0-40
          [1/3] FROM busybox: cached | cached | 2-5
          [2/3] COPY . .: cached | cached | 5-7
          [3/3] RUN make: 2.0s | critical | 10-60
          [other 1/1] RUN it: 1.0s |  | 10-35
          exporting to image: 1.6s | critical | 60-100
          tried again at 3.0s | 75-76
        quick (amd64) | bar built | 0-9
        ended (amd64): interrupted | bar interrupted | 10-30
        bad (amd64): failed | bar failed critical | 40-100
          fails: failed in 5.0s | failed critical | 0-83
          x: 5.0s |  | 17-100"#]]
    .assert_eq(found(&page_of(&by_hand()), "return bars()", &[]).as_str().unwrap());
}

#[test]
fn a_click_on_a_heading_sorts_a_table() {
    let script = r#"
        const columns = [column("images", 0)];
        for (const heading of ["job", "job", "time", "retries"]) {
          click("images", heading);
          columns.push(column("images", 0));
        }
        return columns"#;
    assert_eq!(
        found(&page_of(&by_hand()), script, &[]),
        json!([
            "slow quick bad ended old",
            "bad ended old quick slow",
            "slow quick old ended bad",
            "old quick ended slow bad",
            "old quick ended bad slow"
        ])
    );
}

#[test]
fn the_page_is_light_dark_and_printed_light() {
    let script = r#"return getComputedStyle(document.body).backgroundColor"#;
    let (page, dark) = (page_of(&by_hand()), "--blink-settings=preferredColorScheme=0");
    assert_eq!(found(&page, script, &["--blink-settings=preferredColorScheme=1"]), "rgb(255, 255, 255)");
    assert_eq!(found(&page, script, &[dark]), "rgb(13, 17, 23)");
    let (_, dir) = opened(&page, &[dark, "--print-to-pdf=page.pdf"]);
    let colours = "import re,sys,zlib\n\
        for part in re.finditer(rb'stream\\r?\\n(.*?)endstream', open(sys.argv[1], 'rb').read(), re.S):\n  \
        try: print(*set(re.findall(rb'[\\d.]+ [\\d.]+ [\\d.]+ rg', zlib.decompress(part[1]))))\n  \
        except zlib.error: pass\n";
    let mut python = Command::new(python_programs().join("python3"));
    let output = python.args(["-c", colours]).arg(dir.0.join("page.pdf")).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    // A step's blue and the red of one that failed, as on white.
    assert!(printed.contains(".3294 .6824 1 rg") && printed.contains("1 .5059 .5098 rg"), "{printed}");
}
