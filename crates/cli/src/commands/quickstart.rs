//! `kaogong quickstart`: the whole loop on the user's own data, through the public API only.
//!
//! Every step carries a key made from one id, so that the loop may be broken off anywhere and continued with
//! `--resume`: what was done is found, not done again.

mod steps;

use crate::{
    context::Context,
    data_in::{DataFormat, LocalData},
    exit::usage,
    holdout::{self, Report},
    output::{Format, note, progress::Board},
};
use kaogong_api::{access::NewToken, datasets::*, models::ModelVersionView, runs::RunView};
use kaogong_client::Client;
use kaogong_domain::{Problem, names::Title};
use serde_json::json;
use std::path::{Path, PathBuf};
use steps::Kind;

/// Arguments of `kaogong quickstart`.
#[derive(Debug, clap::Args)]
pub struct QuickstartArgs {
    /// A folder of pictures with one folder per class, or a .csv or .parquet file.
    pub path: PathBuf,
    /// The name for dataset, model and endpoint; made from the path when absent. Models and endpoints have Latin
    /// letters and digits only: for a name in another script they get the one that stands for it.
    #[arg(long)]
    pub name: Option<String>,
    /// The column to predict, for tables.
    #[arg(long, value_name = "COLUMN")]
    pub target: Option<String>,
    /// Whether the first line of a CSV file names the columns.
    #[command(flatten)]
    pub header: super::datasets::HeaderArgs,
    /// The separator of a CSV file, `tab` or `whitespace`; found out from the first lines when absent.
    #[arg(long, value_name = "CHARACTER")]
    pub delimiter: Option<String>,
    /// The level of folders that is the class, for pictures: 1 is the outermost below wrappers and splits.
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub class_level: Option<u32>,
    /// Follow symbolic links that lead into this folder.
    #[arg(long, value_name = "ROOT")]
    pub follow_links: Option<PathBuf>,
    /// Seed of the split and of the training.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Share held out for testing, in percent.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(5..=50))]
    pub test_percent: u8,
    /// The engine of the endpoint; ONNX Runtime when its library was found, else tract.
    #[arg(long, value_parser = ["onnxruntime", "tract"])]
    pub engine: Option<String>,
    /// Continue a quickstart that was broken off, by the id that it printed.
    #[arg(long, value_name = "ID")]
    pub resume: Option<String>,
}

/// What the loop made.
struct Made {
    version: VersionView,
    runs: Vec<RunView>,
    metric: &'static str,
    model: ModelVersionView,
    endpoint: String,
    report: Report,
}

/// Runs the loop.
pub async fn run(context: &Context, args: QuickstartArgs) -> Result<(), Problem> {
    let data = LocalData::find(&args.path, None, args.follow_links.as_deref())?;
    check_target(&data, args.target.as_deref())?;
    let name = match &args.name {
        Some(name) => name.parse::<Title>().map_err(|it| usage(it.to_string()))?,
        None => name_from(&args.path)?,
    };
    let id = args.resume.clone().map_or_else(super::new_key, Ok)?;
    let client = context.client()?;
    note(&format!("quickstart {id}; if it is broken off, continue with: {}", again(&args, name.as_str(), &id)));
    let made = carry_out(&client, &args, &data, &name, &id).await?;
    finish(context, &client, &args, &made).await
}

/// The command that continues.
fn again(args: &QuickstartArgs, name: &str, id: &str) -> String {
    let path = args.path.display().to_string();
    let mut words: Vec<String> = ["kaogong", "quickstart", &path, "--name", name].map(Into::into).into();
    if let Some(target) = &args.target {
        words.extend(["--target".into(), target.clone()]);
    }
    match args.header.asked() {
        Some(true) => words.push("--header".into()),
        Some(false) => words.push("--no-header".into()),
        None => {}
    }
    if let Some(delimiter) = &args.delimiter {
        words.extend(["--delimiter".into(), delimiter.clone()]);
    }
    if let Some(level) = args.class_level {
        words.extend(["--class-level".into(), level.to_string()]);
    }
    if let Some(root) = &args.follow_links {
        words.extend(["--follow-links".into(), root.display().to_string()]);
    }
    words.extend(["--seed".into(), args.seed.to_string(), "--test-percent".into(), args.test_percent.to_string()]);
    if let Some(engine) = &args.engine {
        words.extend(["--engine".into(), engine.clone()]);
    }
    words.extend(["--resume".into(), id.to_owned()]);
    words.iter().map(|it| super::login::shell_quote(it)).collect::<Vec<_>>().join(" ")
}

fn check_target(data: &LocalData, target: Option<&str>) -> Result<(), Problem> {
    match (data.format, target) {
        (DataFormat::Images, Some(_)) => {
            Err(usage("--target is for tables; pictures take their class from their folder"))
        }
        (DataFormat::Csv | DataFormat::Parquet, None) => {
            Err(usage("a table needs the column to predict").hint("add --target COLUMN"))
        }
        _ => Ok(()),
    }
}

/// `Breast Cancer.csv` becomes `breast-cancer`, `患者.csv` becomes `患者`.
fn name_from(path: &Path) -> Result<Title, Problem> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let stem = path.file_stem().map(|it| it.to_string_lossy()).unwrap_or_default();
    let name = if stem.is_ascii() {
        let stem = stem.to_lowercase();
        let safe: String =
            stem.chars().map(|it| if it.is_ascii_alphanumeric() || "-_.".contains(it) { it } else { '-' }).collect();
        safe.trim_matches(['-', '_', '.']).chars().take(60).collect::<String>().parse()
    } else {
        stem.parse()
    };
    name.map_err(|_| usage(format!("no name can be made from {}", path.display())).hint("add --name NAME"))
}

async fn carry_out(
    client: &Client,
    args: &QuickstartArgs,
    data: &LocalData,
    title: &Title,
    id: &str,
) -> Result<Made, Problem> {
    let name = title.name().as_str();
    let query = ImportQuery {
        format: data.format.as_str().into(),
        seed: Some(args.seed),
        test_percent: Some(args.test_percent),
        target: args.target.clone(),
        class_level: args.class_level,
        header: args.header.asked(),
        delimiter: args.delimiter.clone(),
        mode: Some("replace".into()),
        message: Some("quickstart".into()),
        source: Some(args.path.display().to_string()),
        request_key: Some(format!("quickstart-{id}-import")),
        ..ImportQuery::default()
    };
    let version = super::datasets::send(client, &Board::new(), title.as_str(), data, &query).await?;
    if let Some(folders) = version.summary.folders.as_ref().filter(|it| it.is_unsure) {
        note(&format!("warning: {}", folders.note));
    }
    let kind = Kind::of(&version)?;
    let metric = kind.metric(&version);
    let jobs = steps::submit(client, &version, kind, args.seed, id).await?;
    let jobs = steps::wait(client, jobs).await?;
    let runs = steps::runs_of(client, &jobs).await?;
    let best = steps::best(&runs, metric)?;
    for run in &runs {
        let value = crate::output::words::number(run.metrics.get(metric).copied().flatten());
        let mark = if run.id == best.id { "  <- better" } else { "" };
        note(&format!("run {} ({}): {} {value}{mark}", run.name, run.id, metric));
    }
    let model = steps::register(client, name, best, metric, id).await?;
    note(&format!("registered {}@{}, alias champion", model.model, model.number));
    let endpoint = steps::serve(client, name, &model, args.engine.as_deref()).await?;
    note(&format!("endpoint {} serves {}@{} with {}", endpoint.name, model.model, model.number, endpoint.engine));
    let report = test(client, name, &version).await?;
    Ok(Made { version, runs, metric, model, endpoint: endpoint.name, report })
}

async fn test(client: &Client, name: &str, version: &VersionView) -> Result<Report, Problem> {
    let total = version.summary.splits.get("test").copied().unwrap_or_default();
    let progress = Board::new().count("asking about the held-out items", total);
    let plan = holdout::Plan { endpoint: name, version, split: "test", limit: 10_000 };
    let report = holdout::run(client, &plan, |at| progress.set(at)).await?;
    progress.finish(&format!("{} calls", report.calls));
    Ok(report)
}

async fn finish(context: &Context, client: &Client, args: &QuickstartArgs, made: &Made) -> Result<(), Problem> {
    let curl = curl_line(client, args, made).await?;
    let link = client.sign_in_link().await?;
    let sign_in = format!("{}{}", client.address(), link.path);
    super::endpoints::warn_if_useless(context, &made.endpoint, &made.report);
    if context.out.format == Format::Json {
        let runs: Vec<_> = made
            .runs
            .iter()
            .map(|it| json!({ "id": it.id, "name": it.name, "job": it.job_id, "metrics": it.metrics }))
            .collect();
        let mut value = json!({
            "dataset": made.version.dataset, "version": made.version.number, "runs": runs, "compared_by": made.metric,
            "model": made.model.model, "model_version": made.model.number, "endpoint": made.endpoint,
            "address": client.address(), "infer_url": super::endpoints::address(client, &made.endpoint),
            "sign_in_url": sign_in, "curl": curl,
        });
        super::endpoints::merge(&mut value, &made.report);
        return context.out.json(&value);
    }
    let mut pairs = vec![
        ("dataset", format!("{}@{}", made.version.dataset, made.version.number)),
        ("model", format!("{}@{}", made.model.model, made.model.number)),
        ("endpoint", super::endpoints::address(client, &made.endpoint)),
    ];
    pairs.extend(super::endpoints::report_pairs(&made.report));
    pairs.push(("console", format!("{}  (signs in once)", sign_in)));
    context.out.text(&crate::output::table::pairs(&pairs))?;
    context.out.text(&format!("\nTry it:\n{curl}\n"))
}

/// A line for a shell that asks the endpoint about one held-out item, with a token that can do nothing else.
async fn curl_line(client: &Client, args: &QuickstartArgs, made: &Made) -> Result<String, Problem> {
    let token = NewToken {
        name: format!("quickstart {}", made.endpoint),
        project: Some(client.project().to_owned()),
        scopes: vec!["infer".into()],
        days: Some(30),
    };
    let secret = client.new_token(&token).await?.secret;
    let quote = super::login::shell_quote;
    let url = format!("{}/api/v1/projects/{}/endpoints/{}/predict", client.address(), client.project(), made.endpoint);
    let (media_type, body) = match &made.report.example {
        Some((_, Some(row))) => ("application/json".to_owned(), quote(&json!({ "row": row }).to_string())),
        Some((name, None)) => {
            let file = std::path::absolute(args.path.join(name)).unwrap_or_else(|_| args.path.join(name));
            let kind = image::ImageFormat::from_path(&file).map_or("image/png", |it| it.to_mime_type());
            (kind.to_owned(), quote(&format!("@{}", file.display())))
        }
        None => ("application/json".to_owned(), quote("{\"row\":{}}")),
    };
    let head = format!(
        "curl -sS -H {} -H {}",
        quote(&format!("Authorization: Bearer {secret}")),
        quote(&format!("Content-Type: {media_type}"))
    );
    Ok(format!("{head} --data-binary {body} {}", quote(&url)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_continues_asks_for_the_same() {
        use clap::Parser;
        let line =
            "kaogong quickstart my?data.csv --target y --no-header --delimiter whitespace --seed 3 --engine tract";
        let line = line.split(' ').map(|it| it.replace('?', " "));
        let crate::args::Command::Quickstart(args) = crate::args::Cli::parse_from(line).command else {
            panic!("a quickstart")
        };
        let expected = "kaogong quickstart 'my data.csv' --name n --target y --no-header --delimiter whitespace --seed 3 \
             --test-percent 20 --engine tract --resume k";
        assert_eq!(again(&args, "n", "k"), expected);
    }

    #[test]
    fn names_come_from_paths() {
        let name = |path: &str| name_from(Path::new(path)).map(|it| it.as_str().to_owned()).ok();
        assert_eq!(name("/data/Breast Cancer.csv").as_deref(), Some("breast-cancer"));
        assert_eq!(name("/data/digits/").as_deref(), Some("digits"));
        assert_eq!(name("/data/图片").as_deref(), Some("图片"));
        assert_eq!(name("/data/患者 2024.csv").as_deref(), Some("患者 2024"));
        assert_eq!(name("/data/---.csv"), None);
    }
}
