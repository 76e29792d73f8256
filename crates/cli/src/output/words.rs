//! Times, sizes and spans in words.

/// Bytes with a binary unit: `312 KiB`.
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if value < 10.0 && unit != "B" {
                format!("{value:.1} {unit}")
            } else {
                format!("{value:.0} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A moment in milliseconds since 1970, in UTC: `2026-01-31 12:00:05Z`.
pub fn time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        Err(_) => ms.to_string(),
    }
}

/// A moment, or `-`.
pub fn time_or_dash(ms: Option<i64>) -> String {
    ms.map_or_else(|| "-".to_owned(), time)
}

/// A text, or `-`.
pub fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

/// A span: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 1 min`.
pub fn span(ms: i64) -> String {
    let s = ms.max(0) / 1000;
    match s {
        0..10 => format!("{:.1} s", ms.max(0) as f64 / 1000.0),
        10..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

/// A measure with five digits; `-` for none.
pub fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value != 0.0 && (value.abs() < 1e-4 || value.abs() >= 1e9) => format!("{value:.4e}"),
        Some(value) => {
            let text = format!("{value:.5}");
            let text = text.trim_end_matches('0').trim_end_matches('.');
            text.to_owned()
        }
    }
}

/// The two measures that say most, for a column of a table: those that models are judged by come first.
pub fn measures(metrics: &std::collections::BTreeMap<String, Option<f64>>) -> String {
    let rank = |key: &str| {
        let told = ["accuracy", "f1", "auc", "r2", "mae", "rmse", "loss"].iter().position(|it| key.contains(it));
        (told.is_none(), !key.starts_with("validation") && !key.starts_with("test"), told)
    };
    let mut pairs: Vec<(&String, &Option<f64>)> = metrics.iter().collect();
    pairs.sort_by_key(|it| rank(it.0));
    let shown = pairs.iter().take(2).map(|(key, value)| format!("{key} {}", number(**value)));
    shown.collect::<Vec<_>>().join(", ")
}

/// Now, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A count of values.
pub fn values(count: u64) -> String {
    if count == 1 { "1 value".to_owned() } else { format!("{count} values") }
}

/// How many files: `1 file`, `2 files`.
pub fn files(count: u64) -> String {
    format!("{count} file{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measures_that_models_are_judged_by_come_first() {
        let metrics =
            [("epochs", 60.0), ("train_accuracy", 1.0), ("validation_accuracy", 0.9), ("validation_loss", 0.2)];
        let metrics = metrics.into_iter().map(|(key, value)| (key.to_owned(), Some(value))).collect();
        assert_eq!(measures(&metrics), "validation_accuracy 0.9, validation_loss 0.2");
    }

    #[test]
    fn words_for_sizes_times_and_numbers() {
        assert_eq!([bytes(5), bytes(319_488), bytes(5 << 30)], ["5 B", "312 KiB", "5.0 GiB"]);
        assert_eq!(time(0), "1970-01-01 00:00:00Z");
        assert_eq!(
            [span(420), span(12_345), span(185_000), span(7_260_000)],
            ["0.4 s", "12 s", "3 min 5 s", "2 h 1 min"]
        );
        assert_eq!([number(Some(0.95)), number(Some(3.0)), number(None)], ["0.95", "3", "-"]);
    }
}
