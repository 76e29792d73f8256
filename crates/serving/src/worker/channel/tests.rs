//! Calls over a channel, with a worker that is a thread of this process, and with one that lies.

use super::*;
use crate::{
    tensor::{DataType, TensorSpec},
    worker::wire::tensors_of,
};

fn spec() -> [TensorSpec; 1] {
    [TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![-1] }]
}

fn floats(count: usize) -> Tensor {
    Tensor::f32("x", vec![count as i64], &vec![0.5; count])
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A channel, and its other side.
fn pair() -> (Caller, Callee) {
    let caller = Caller::new().expect("a channel");
    let callee = Callee::new(caller.file().try_clone_to_owned().expect("a copy")).expect("the other side");
    (caller, callee)
}

/// Gives everything back as it came.
fn echo(mut callee: Callee) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        while let Some(message) = callee.next() {
            let tensors = tensors_of(&message.expect("whole"), &spec()).expect("tensors");
            callee.answer(&Ok(tensors));
        }
    })
}

#[test]
fn small_and_large_tensors_come_back_and_the_memory_of_large_ones_is_given_back() {
    let (mut caller, callee) = pair();
    let file = caller.file().try_clone_to_owned().expect("a copy");
    let worker = echo(callee);
    for count in [0, 1, 1000, 100_000, 4_000_000, 3, 2_000_000] {
        let Outcome::Answer(bytes) = caller.call(&[floats(count)], soon()).expect("asked") else { panic!("{count}") };
        assert_eq!(tensors_of(&bytes, &spec()).expect("tensors"), [floats(count)]);
        let held = fstat(&file).expect("it is there").st_blocks as usize * 512;
        assert!(held <= KEPT_BYTES + PAGE, "{held} bytes are held after {count} numbers");
    }
    caller.page().end();
    worker.join().expect("it ends");
}

#[test]
fn a_problem_comes_back_with_its_kind_and_its_hint() {
    let (mut caller, mut callee) = pair();
    let worker = std::thread::spawn(move || {
        let _ = callee.next();
        callee.answer(&Err(Problem::invalid("no").hint("yes")));
    });
    let Outcome::Problem(problem) = caller.call(&[floats(1)], soon()).expect("asked") else { panic!("no problem") };
    assert_eq!((problem.text.as_str(), problem.hint.as_deref()), ("no", Some("yes")));
    worker.join().expect("it ends");
}

#[test]
fn a_call_ends_at_its_moment_and_when_the_worker_goes() {
    let (mut caller, _callee) = pair();
    let outcome = caller.call(&[floats(1)], Instant::now() + Duration::from_millis(5)).expect("asked");
    assert!(matches!(outcome, Outcome::Overdue), "{outcome:?}");
    let page = caller.page();
    let ender = std::thread::spawn(move || page.end());
    assert!(matches!(caller.wait(soon()), Outcome::Gone));
    ender.join().expect("it ends");
}

#[test]
fn what_no_worker_writes_is_an_error_and_nothing_worse() {
    type Lie = (&'static str, fn(&Side));
    let lies: [Lie; 6] = [
        ("a length beyond everything", |it| it.page.0.number().store(u64::MAX, Ordering::Release)),
        ("a length beyond the file", |it| it.page.0.number().store(1 << 28, Ordering::Release)),
        ("a length beyond the message", |it| it.page.0.number().store(4096, Ordering::Release)),
        ("a length inside a head", |it| it.page.0.number().store(7, Ordering::Release)),
        ("a head of other bytes", |it| assert!(it.area.write(0, &[0xff; 64]))),
        ("a turn that is nobody's", |it| it.page.set(77)),
    ];
    for (what, lie) in lies {
        let (mut caller, mut callee) = pair();
        let worker = std::thread::spawn(move || {
            let _ = callee.next();
            // The length and the area are the request's own, which would be a right answer.
            lie(&callee.0);
            if callee.0.page.turn() == turn::REQUEST {
                callee.0.page.set(turn::ANSWER);
            }
            callee
        });
        let is_refused = match caller.call(&[floats(3)], soon()).expect("asked") {
            Outcome::Broken(_) => true,
            Outcome::Answer(bytes) => tensors_of(&bytes, &spec()).is_err(),
            _ => false,
        };
        assert!(is_refused, "{what}");
        drop(worker.join().expect("it ends"));
    }
}

#[test]
fn a_worker_cannot_take_memory_away_from_under_the_server() {
    let (caller, callee) = pair();
    assert!(ftruncate(&callee.0.file, 0).is_err(), "the file does not shrink");
    assert!(fcntl_add_seals(&callee.0.file, SealFlags::GROW).is_err(), "nor is it sealed further");
    drop(caller);
}

#[test]
fn what_is_too_large_is_a_problem_of_that_call() {
    let (mut caller, mut callee) = pair();
    let worker = std::thread::spawn(move || {
        let _ = callee.next();
        let data = Bytes::from(vec![0u8; MESSAGE_BYTES_MAX + 4]);
        let shape = vec![data.len() as i64 / 4];
        callee.answer(&Ok(vec![Tensor { name: "x".into(), datatype: DataType::Fp32, shape, data }]));
    });
    let Outcome::Problem(problem) = caller.call(&[floats(1)], soon()).expect("asked") else { panic!("no problem") };
    assert_eq!(problem.text, "the model gives 512 MiB for this call, at most 512 MiB are answered");
    worker.join().expect("it ends");
}
