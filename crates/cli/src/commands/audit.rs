//! `kaogong audit`.

use crate::{context::Context, output::words};
use kaogong_api::events::EventQuery;
use kaogong_domain::Problem;

/// Arguments of `kaogong audit`.
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    /// All changes of the platform, not of the project only; needs a platform administrator.
    #[arg(long)]
    pub platform: bool,
    /// Only this noun.
    #[arg(long, value_parser = ["datasets", "jobs", "runs", "models", "endpoints", "access"])]
    pub noun: Option<String>,
    /// Only changes before this number.
    #[arg(long, value_name = "SEQ")]
    pub before: Option<i64>,
    /// Rows wanted.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
}

/// Prints the log of changes.
pub async fn run(context: &Context, args: AuditArgs) -> Result<(), Problem> {
    let client = context.client()?;
    let query = EventQuery { before: args.before, noun: args.noun, limit: Some(args.limit) };
    let page = if args.platform { client.audit(&query).await? } else { client.events(&query).await? };
    context.out.page(&page, &["SEQ", "TIME", "ACTOR", "ADDRESS", "ACTION", "THING"], |it| {
        let thing = it.object_name.clone().unwrap_or_else(|| it.object_id.clone());
        vec![
            it.seq.to_string(),
            words::time(it.at),
            it.actor.clone(),
            words::or_dash(it.address.as_deref()),
            it.action.clone(),
            thing,
        ]
    })
}
