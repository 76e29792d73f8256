//! Answers a program that compares engines, without a server: `answers [tract | onnxruntime LIBRARY]`. On standard input
//! come `load PATH` and `run COUNT` with so many tensors behind it, each as `NAME DATATYPE SHAPE BYTES` and its bytes. The
//! answer is `ok`, with tensors in the same form, or `error` with what was said.
#![allow(clippy::print_stdout)]

use kaogong_engines::{OnnxRuntime, Tract};
use kaogong_serving::{DataType, Engine, Session, Tensor, pool::try_out};
use std::{
    error::Error,
    io::{BufRead, Write},
    path::Path,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let words = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    let engine: Box<dyn Engine> = match words[..] {
        ["tract"] => Box::new(Tract),
        ["onnxruntime", library] => Box::new(OnnxRuntime::find(Some(Path::new(library)), &[])?.ok_or("no library")?),
        _ => return Err("usage: answers [tract | onnxruntime LIBRARY]".into()),
    };
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut session: Option<Box<dyn Session>> = None;
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        let answer = match line.trim_end().split_once(' ') {
            Some(("load", path)) => load(&*engine, path).map(|it| {
                session = Some(it);
                vec![]
            }),
            Some(("run", count)) => {
                let tensors = (0..count.parse::<usize>()?).map(|_| read(&mut input)).collect::<Outcome<Vec<_>>>()?;
                session.as_mut().ok_or("nothing is loaded")?.run(&tensors).map_err(Into::into)
            }
            _ => return Err(format!("`{}` is no command", line.trim_end()).into()),
        };
        match answer {
            Ok(tensors) => {
                writeln!(output, "ok {}", tensors.len())?;
                tensors.iter().try_for_each(|it| write(&mut output, it))?;
            }
            Err(error) => writeln!(output, "error {}", error.to_string().replace('\n', " "))?,
        }
        output.flush()?;
        line.clear();
    }
    Ok(())
}

fn load(engine: &dyn Engine, path: &str) -> Outcome<Box<dyn Session>> {
    let model = engine.load(Path::new(path), 1)?;
    try_out(&*model)?;
    Ok(model.session()?)
}

fn read(from: &mut impl BufRead) -> Outcome<Tensor> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let [name, datatype, shape, length] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err("a tensor has a name, a type, a shape and a length".into());
    };
    let datatype = DataType::parse(datatype).ok_or("an unknown type")?;
    let shape = shape.split(',').filter(|it| !it.is_empty() && *it != "-").map(str::parse).collect::<Result<_, _>>()?;
    let mut data = vec![0; length.parse()?];
    from.read_exact(&mut data)?;
    Ok(Tensor { name: name.to_owned(), datatype, shape, data: data.into() })
}

fn write(to: &mut impl Write, tensor: &Tensor) -> Outcome<()> {
    let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
    let shape = if shape.is_empty() { "-".to_owned() } else { shape.join(",") };
    writeln!(to, "{} {} {shape} {}", tensor.name, tensor.datatype.as_str(), tensor.data.len())?;
    Ok(to.write_all(&tensor.data)?)
}
