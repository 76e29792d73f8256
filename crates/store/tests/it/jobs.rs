//! Jobs and their attempts.

use crate::support::{NOW, World, behind, on_both, refused};
use kaogong_domain::{
    ErrorKind,
    ids::{AttemptId, JobId},
    jobs::{AttemptOutcome, JobEvent, JobState, JobStatus, RetainedAttempt},
};
use kaogong_store::{
    JOBS_UNFINISHED_MAX, JOBS_UNFINISHED_OF_PROJECT_MAX, JobRow, JobRuns, NewJobInput, NewJobRow, NewRunRow,
};

fn new_job(w: &World, name: &str) -> NewJobRow {
    NewJobRow {
        project_id: w.project,
        name: name.to_owned(),
        spec: "{\"command\":[\"true\"]}".to_owned(),
        retries: 1,
        inputs: vec![],
        request_key: None,
    }
}

async fn submit(w: &World, new: NewJobRow) -> JobRow {
    w.store.submit_job(new, &w.actor, NOW).await.expect("a job")
}

async fn tell(w: &World, id: JobId, event: JobEvent, ms: i64) -> JobStatus {
    w.store.apply_job_event(w.project, id, event, &w.actor, w.later(ms)).await.expect("it is told")
}

fn ended(exit_code: Option<i32>) -> AttemptOutcome {
    AttemptOutcome { exit_code, was_cancelled: false, may_retry: true, message: "it ended".to_owned() }
}

#[tokio::test]
async fn a_job_is_submitted_once_for_a_key() {
    on_both("submitting", async |w| {
        let version = w.version(w.project, "d").await;
        let inputs = vec![NewJobInput { alias: "train".to_owned(), version_id: version }];
        let keyed = NewJobRow { request_key: Some("k".to_owned()), inputs, ..new_job(w, "Train") };
        let made = submit(w, keyed.clone()).await;
        assert_eq!(submit(w, keyed).await, made);
        assert_eq!(made.status, JobStatus::new(1));
        let inputs = w.store.job_inputs(made.id).await.expect("inputs");
        assert_eq!((inputs[0].alias.as_str(), inputs[0].dataset.as_str(), inputs[0].number), ("train", "d", 1));
        let run = NewRunRow { job_id: Some(made.id), ..w.new_run(w.project, "r").await };
        let run = w.store.create_run(w.project, run, &w.actor, NOW).await.expect("a run");
        assert_eq!(run.row.dataset_versions, [version]);
        let runs = w.store.runs_of_job(made.id).await.expect("runs");
        assert_eq!(runs, JobRuns { ids: vec![run.row.id], has_more: false });
    })
    .await;
}

#[tokio::test]
async fn a_job_fails_is_tried_again_and_succeeds() {
    on_both("a whole status", async |w| {
        let job = submit(w, new_job(w, "j")).await.id;
        w.store.set_job_hold(w.project, job, "waits for room").await.expect("held");
        let held = w.store.find_job(w.project, job).await.expect("it reads").expect("a job");
        assert_eq!(held.status.reason.as_deref(), Some("waits for room"));
        let (one, two) = (AttemptId::generate(NOW), AttemptId::generate(w.later(1)));
        let status = tell(w, job, JobEvent::Admitted(one), 1).await;
        assert_eq!((status.state, status.attempt), (JobState::Admitted, Some(one)));
        tell(w, job, JobEvent::Started(one), 2).await;
        tell(w, job, JobEvent::Running(one), 3).await;
        let events = w.store.newest_event().await.expect("a number");
        tell(w, job, JobEvent::Running(one), 4).await;
        assert_eq!(w.store.newest_event().await.expect("a number"), events, "a repeated report changes nothing");
        let status = tell(w, job, JobEvent::Ended(one, ended(Some(3))), 5).await;
        assert_eq!((status.state, status.retries_left, status.attempt), (JobState::Queued, 0, None));
        for event in [JobEvent::Admitted(two), JobEvent::Started(two), JobEvent::Running(two)] {
            tell(w, job, event, 6).await;
        }
        tell(w, job, JobEvent::Ended(one, ended(Some(9))), 7).await;
        let status = tell(w, job, JobEvent::Ended(two, ended(Some(0))), 8).await;
        assert_eq!((status.state, status.exit_code), (JobState::Succeeded, Some(0)));
        let row = w.store.find_job(w.project, job).await.expect("it reads").expect("a job");
        assert_eq!((row.status, row.started_at, row.ended_at), (status, Some(w.later(3)), Some(w.later(8))));
        let attempts = w.store.attempts(job).await.expect("attempts");
        let short: Vec<_> = attempts.iter().map(|it| (it.number, it.state, it.exit_code)).collect();
        assert_eq!(short, [(1, JobState::Failed, Some(3)), (2, JobState::Succeeded, Some(0))]);
        assert_eq!(attempts[0].ended_at, Some(w.later(5)));
        let mut left = w.store.leftovers(&[two, AttemptId::generate(NOW), one]).await.expect("it reads");
        left.sort_by_key(|it| it.ended_at);
        let over =
            |attempt, state, is_newest, ms| RetainedAttempt { attempt, state, is_newest, ended_at: Some(w.later(ms)) };
        assert_eq!(left, [over(one, JobState::Failed, false, 5), over(two, JobState::Succeeded, true, 8)]);
    })
    .await;
}

#[tokio::test]
async fn a_job_is_cancelled_or_lost() {
    on_both("cancel and loss", async |w| {
        let waiting = submit(w, new_job(w, "waiting")).await.id;
        let status = tell(w, waiting, JobEvent::CancelRequested, 1).await;
        assert_eq!(status.state, JobState::Cancelled);
        let job = submit(w, new_job(w, "running")).await.id;
        let attempt = AttemptId::generate(NOW);
        tell(w, job, JobEvent::Admitted(attempt), 1).await;
        tell(w, job, JobEvent::Running(attempt), 2).await;
        let status = tell(w, job, JobEvent::CancelRequested, 3).await;
        assert_eq!((status.state, status.cancel_requested, status.attempt), (JobState::Running, true, Some(attempt)));
        let status = tell(w, job, JobEvent::Ended(attempt, ended(None)), 4).await;
        assert_eq!((status.state, status.exit_code), (JobState::Cancelled, None));
        assert_eq!(w.store.attempts(job).await.expect("attempts")[0].state, JobState::Cancelled);
        let lost = submit(w, NewJobRow { retries: 0, ..new_job(w, "lost") }).await.id;
        let attempt = AttemptId::generate(NOW);
        tell(w, lost, JobEvent::Admitted(attempt), 1).await;
        let status = tell(w, lost, JobEvent::Lost(attempt, "the machine is gone".to_owned()), 2).await;
        assert_eq!(status.state, JobState::Lost);
        let row = w.store.attempts(lost).await.expect("attempts").remove(0);
        assert_eq!((row.state, row.reason.as_deref()), (JobState::Lost, Some("the machine is gone")));
    })
    .await;
}

#[tokio::test]
async fn jobs_are_listed_by_state_and_text() {
    on_both("listing jobs", async |w| {
        for text in ["Train one", "Train two", "Evaluate"] {
            submit(w, new_job(w, text)).await;
        }
        let gone = submit(w, new_job(w, "Train gone")).await.id;
        tell(w, gone, JobEvent::CancelRequested, 1).await;
        let list = async |state, text: Option<&str>, offset| {
            let (page, total) = w.store.list_jobs(w.project, state, text, offset, 2).await.expect("a page");
            (page.len(), total)
        };
        assert_eq!(list(None, None, 0).await, (2, 4));
        assert_eq!(list(None, None, 3).await, (1, 4));
        assert_eq!(list(Some(JobState::Queued), Some("TRAIN"), 0).await, (2, 2));
        assert_eq!(list(Some(JobState::Cancelled), None, 0).await, (1, 1));
        let unfinished = w.store.unfinished_jobs().await.expect("jobs");
        assert_eq!(unfinished.len(), 3);
        assert!(unfinished.iter().all(|it| it.status == JobStatus::new(1) && it.project_id == w.project));
    })
    .await;
}

#[tokio::test]
async fn only_so_many_jobs_may_wait() {
    on_both("the bound on jobs", async |w| {
        let keyed = NewJobRow { request_key: Some("k".to_owned()), ..new_job(w, "the first") };
        let first = submit(w, keyed.clone()).await;
        let others = format!(
            "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {JOBS_UNFINISHED_MAX}) \
            INSERT INTO jobs (id, project_id, name, spec, state, retries_left, cancel_asked, created_at) \
            SELECT 'other' || CAST(i AS TEXT), '{}', 'other', '{{}}', 'queued', 0, 0, 0 FROM n",
            w.other
        );
        behind(&w.url, &[&others]).await;
        let told = w.store.submit_job(new_job(w, "one more"), &w.actor, NOW).await;
        assert!(refused(told, ErrorKind::TooMany).hint.is_some());
        assert_eq!(submit(w, keyed).await.id, first.id, "a repetition asks for no more room");
        tell(w, first.id, JobEvent::CancelRequested, 1).await;
        submit(w, new_job(w, "one more")).await;
    })
    .await;
}

#[tokio::test]
async fn one_project_leaves_room_for_the_jobs_of_others() {
    on_both("the bound on a project's jobs", async |w| {
        let keyed = NewJobRow { request_key: Some("k".to_owned()), ..new_job(w, "the first") };
        let first = submit(w, keyed.clone()).await;
        let count = JOBS_UNFINISHED_OF_PROJECT_MAX - 1;
        let more = format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
            INSERT INTO jobs (id, project_id, name, spec, state, retries_left, cancel_asked, created_at) \
            SELECT 'own' || CAST(i AS TEXT), '{}', 'own', '{{}}', 'queued', 0, 0, 0 FROM n",
            w.project
        );
        let counted = format!(
            "UPDATE counters SET count = count + {count} WHERE owner = '{}' AND what IN ('jobs', 'jobs.queued')",
            w.project
        );
        behind(&w.url, &[&more, &counted]).await;
        let told = refused(w.store.submit_job(new_job(w, "one more"), &w.actor, NOW).await, ErrorKind::TooMany);
        assert!(told.text.contains("jobs of this project") && told.hint.is_some(), "{}", told.text);
        submit(w, NewJobRow { project_id: w.other, ..new_job(w, "of another project") }).await;
        assert_eq!(submit(w, keyed).await.id, first.id, "a repetition asks for no more room");
        tell(w, first.id, JobEvent::CancelRequested, 1).await;
        submit(w, new_job(w, "one more")).await;
    })
    .await;
}

#[tokio::test]
async fn a_job_with_many_runs_says_that_there_are_more() {
    on_both("runs of a job", async |w| {
        let (job, small) = (submit(w, new_job(w, "sweep")).await.id, submit(w, new_job(w, "one run")).await.id);
        let run = NewRunRow { job_id: Some(small), ..w.new_run(w.project, "r").await };
        let run = w.store.create_run(w.project, run, &w.actor, NOW).await.expect("a run").row;
        let add = async |first: u32, last: u32| {
            let runs = format!(
                "WITH RECURSIVE n (i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) \
                INSERT INTO runs (id, experiment_id, project_id, name, status, user_name, started_at, lifecycle, job_id, \
                dataset_versions, inputs, outputs, created_at) SELECT 'run_0000000000000000010000' || CAST(1000 + i AS TEXT), \
                '{}', '{}', 'r', 'RUNNING', '', i, 'active', '{job}', '[]', '[]', '[]', i FROM n",
                run.experiment_id, w.project
            );
            behind(&w.url, &[&runs]).await;
        };
        add(1, 1000).await;
        let all = w.store.runs_of_job(job).await.expect("runs");
        assert_eq!((all.ids.len(), all.has_more), (1000, false));
        add(1001, 1001).await;
        let found = w.store.runs_of_jobs(&[job, small]).await.expect("runs");
        assert_eq!(found[&job], JobRuns { has_more: true, ..all });
        assert_eq!(found[&small], JobRuns { ids: vec![run.id], has_more: false });
    })
    .await;
}

#[tokio::test]
async fn a_job_is_not_seen_from_another_project() {
    on_both("isolation of jobs", async |w| {
        let job = submit(w, new_job(w, "j")).await.id;
        assert_eq!(w.store.find_job(w.other, job).await.expect("it reads"), None);
        assert_eq!(w.store.list_jobs(w.other, None, None, 0, 9).await.expect("a page").1, 0);
        let told = w.store.apply_job_event(w.other, job, JobEvent::CancelRequested, &w.actor, NOW).await;
        refused(told, ErrorKind::NotFound);
        w.store.set_job_hold(w.other, job, "no").await.expect("it changes nothing");
        assert_eq!(w.store.find_job(w.project, job).await.expect("it reads").expect("a job").status, JobStatus::new(1));
        let version_id = w.version(w.other, "d").await;
        let new = NewJobRow { inputs: vec![NewJobInput { alias: "a".to_owned(), version_id }], ..new_job(w, "theft") };
        refused(w.store.submit_job(new, &w.actor, NOW).await, ErrorKind::NotFound);
        assert_eq!(
            w.store.list_jobs(w.project, None, None, 0, 9).await.expect("a page").1,
            1,
            "the refused one left nothing"
        );
    })
    .await;
}
