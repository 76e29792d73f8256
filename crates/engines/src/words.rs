//! Makes what an engine's library says fit for those who use a model: without its source files and C++ signatures.

/// What is cut away at the end: it tells the library's inside alone.
const ENDS: [&str; 2] = ["Stacktrace:", "Stack backtrace"];

/// The part of a message that is about the model and its inputs.
pub(crate) fn plain(text: &str) -> String {
    let mut text = ENDS.iter().fold(text, |it, end| it.split(end).next().unwrap_or(it)).to_owned();
    if let Some(version) = newest(&text) {
        return version;
    }
    text = after_load(&text);
    text = about_node(&text);
    while let Some(shorter) = without_source(&text) {
        text = shorter;
    }
    let kept = text.split_whitespace().filter(|it| !is_inside(it)).collect::<Vec<_>>().join(" ");
    let kept = kept.trim_start_matches(['.', ':', ',', ' ']).trim();
    if kept.is_empty() { "it gives no reason".to_owned() } else { kept.to_owned() }
}

/// A model that is newer than the library: what it wants, and what is taken.
fn newest(text: &str) -> Option<String> {
    let number = |after: &str| {
        let digits = text.split(after).nth(1)?.trim_start_matches(|it: char| !it.is_ascii_digit());
        let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    };
    if text.contains("Unsupported model IR version") {
        let (has, most) = (number("model IR version:")?, number("max supported IR version:")?);
        return Some(format!("its format is IR version {has}, and this ONNX Runtime takes up to {most}"));
    }
    if text.contains("under development and support for this is limited") {
        let (has, most) = (number("Opset ")?, number("is till opset ")?);
        return Some(format!("it wants opset {has}, and this ONNX Runtime takes up to {most}"));
    }
    None
}

/// Without the name of the file, which is one of the server's.
fn after_load(text: &str) -> String {
    match text.split_once("Load model from ") {
        Some((before, after)) => {
            let rest = after.split_once(" failed:").map_or(after, |it| it.1);
            format!("{}{rest}", before.trim())
        }
        None => text.to_owned(),
    }
}

/// `operator Reshape (node `x`): …` instead of a status code.
fn about_node(text: &str) -> String {
    let Some((before, after)) = text.split_once("Non-zero status code returned while running ") else {
        return text.replace("Status Message:", "");
    };
    let Some((operator, rest)) = after.split_once(" node.") else { return text.replace("Status Message:", "") };
    let (name, rest) = match rest.split_once("Name:'").and_then(|it| it.1.split_once('\'')) {
        Some((name, rest)) => (name, rest),
        None => ("", rest),
    };
    let node = if name.is_empty() { String::new() } else { format!(" (node `{name}`)") };
    format!("{before}operator `{operator}`{node}: {}", rest.replace("Status Message:", ""))
}

/// Cuts the first mention of a source line out, with the signature and the condition that follow it.
fn without_source(text: &str) -> Option<String> {
    let (begin, end) = source_in(text)?;
    let rest = text[end..].trim_start();
    // A file without its folder is followed by the bare name of a function.
    let rest = match text[begin..end].contains('/') {
        true => after_signature(rest),
        false => rest.split_once(char::is_whitespace).map_or("", |it| it.1),
    };
    // A condition in C++, when something is said beside it.
    let rest = match rest.split_once(" was false.") {
        Some((_, said)) if !said.trim().is_empty() => said,
        _ => rest,
    };
    Some(format!("{}{}", &text[..begin], rest.trim_start()))
}

/// Where a word like `/a/b.cc:12` begins and ends.
fn source_in(text: &str) -> Option<(usize, usize)> {
    let mut begin = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        if is_source(bare) {
            // What stands before the path in the same word, such as an opening bracket, stays.
            let at = bare.find(|it: char| it == '/' || it.is_alphanumeric()).unwrap_or(0);
            return Some((begin + at, begin + bare.len()));
        }
        begin += word.len();
    }
    None
}

fn is_source(word: &str) -> bool {
    let Some((file, line)) = word.trim_end_matches([',', '.', ')']).rsplit_once(':') else { return false };
    let is_line = !line.is_empty() && line.bytes().all(|it| it.is_ascii_digit());
    is_line && [".cc", ".h", ".cpp", ".hpp", ".cu", ".cuh", ".rs"].iter().any(|it| file.ends_with(it))
}

/// What follows the name of a function with its parameters, when one comes next.
fn after_signature(text: &str) -> &str {
    let Some(open) = text.find('(').filter(|it| text[..*it].contains("::") || !text[..*it].trim().contains(' ')) else {
        return text;
    };
    let Some(mut rest) = past_brackets(&text[open..], '(', ')') else { return text };
    rest = rest.trim_start().strip_prefix("const").unwrap_or(rest.trim_start()).trim_start();
    if rest.starts_with("[with ") {
        rest = past_brackets(rest, '[', ']').unwrap_or(rest);
    }
    rest
}

/// The text after the bracket that closes the first one.
fn past_brackets(text: &str, open: char, close: char) -> Option<&str> {
    let mut depth = 0usize;
    for (at, character) in text.char_indices() {
        if character == open {
            depth += 1;
        } else if character == close {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(&text[at + close.len_utf8()..]);
            }
        }
    }
    None
}

/// A word that tells the inside of a library.
fn is_inside(word: &str) -> bool {
    let bare = word.trim_matches(|it: char| !it.is_alphanumeric() && it != '/' && it != ':' && it != '_');
    word.contains("onnxruntime::") || is_source(bare)
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_is_said_of_a_run_is_about_the_operator() {
        let said = "Non-zero status code returned while running Reshape node. Name:'r1' Status Message: \
            /onnxruntime_src/onnxruntime/core/providers/cpu/tensor/reshape_helper.h:47 \
            onnxruntime::ReshapeHelper::ReshapeHelper(const onnxruntime::TensorShape&, onnxruntime::TensorShapeVector&, bool) \
            input_shape_size == size was false. The input tensor cannot be reshaped to the requested shape. Input shape:{3,4}\n";
        assert_eq!(
            plain(said),
            "operator `Reshape` (node `r1`): The input tensor cannot be reshaped to the requested shape. Input shape:{3,4}"
        );
        let said = "Non-zero status code returned while running Gather node. Name:'' Status Message: indices element out of \
            data bounds, idx=9 must be within the inclusive range [-3,2]";
        assert_eq!(
            plain(said),
            "operator `Gather`: indices element out of data bounds, idx=9 must be within the inclusive range [-3,2]"
        );
        let said = "Non-zero status code returned while running Mod node. Name:'' Status Message: element_wise_ops.cc:2421 \
            operator() Integer modulo by zero";
        assert_eq!(plain(said), "operator `Mod`: Integer modulo by zero");
        let said = "Exception during initialization: /onnxruntime_src/onnxruntime/core/x.cc:12 virtual \
            onnxruntime::common::Status onnxruntime::Split::Compute(onnxruntime::OpKernelContext*) const [with T = float] \
            Cannot split";
        assert_eq!(plain(said), "Exception during initialization: Cannot split");
    }

    #[test]
    fn a_condition_alone_is_better_than_nothing() {
        let said = "/a/core/y.h:7 int onnxruntime::f(int) i >= 0 was false.";
        assert_eq!(plain(said), "i >= 0 was false.");
    }

    #[test]
    fn the_servers_files_are_not_told() {
        let said = "Load model from /srv/kaogong/blobs/ab/cdef failed:Fatal error: com.x:Foo(-1) is not a registered function/op";
        assert_eq!(plain(said), "Fatal error: com.x:Foo(-1) is not a registered function/op");
        assert_eq!(plain("shape {1,2} / {3,4} and /layer/conv stay"), "shape {1,2} / {3,4} and /layer/conv stay");
    }

    #[test]
    fn what_is_too_new_is_told_with_the_newest() {
        let said = "Load model from /x/y failed:/onnxruntime_src/onnxruntime/core/graph/model.cc:181 onnxruntime::Model::Model(\
            onnx::ModelProto&&, const PathString&) Unsupported model IR version: 99, max supported IR version: 13\n";
        assert_eq!(plain(said), "its format is IR version 99, and this ONNX Runtime takes up to 13");
        let said = "Load model from /x/y failed:/onnxruntime_src/onnxruntime/core/graph/model_load_utils.h:46 void \
            onnxruntime::model_load_utils::ValidateOpsetForDomain(const std::unordered_map<std::string, int>&, bool) ONNX \
            Runtime only *guarantees* support for models stamped with official released onnx opset versions. Opset 99 is under \
            development and support for this is limited. The operator schemas and or other functionality may change before next \
            ONNX release and in this case ONNX Runtime will not guarantee backward compatibility. Current official support for \
            domain ai.onnx is till opset 26.\n";
        assert_eq!(plain(said), "it wants opset 99, and this ONNX Runtime takes up to 26");
    }

    #[test]
    fn any_text_is_taken() {
        for text in
            ["", "::", "(", "/a/b.cc:1", "/a/b.cc:1 f(", "Non-zero status code returned while running ", "é'Name:'"]
        {
            assert!(!plain(text).is_empty());
        }
    }
}
