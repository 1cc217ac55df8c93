//! Inputs that once failed, from `tests/fuzz-regressions/TARGET`.

use dnscribe_fuzz::Target;
use dnscribe_tests::environment;
use std::fs;

#[test]
fn regressions_stay_fixed() {
    let folder = environment::workspace().join("tests/fuzz-regressions");
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        if !entry.path().is_dir() {
            continue;
        }
        let name = entry.file_name().into_string().unwrap();
        let target = Target::named(&name).unwrap_or_else(|| panic!("{}", Target::unknown(&name)));
        for input in fs::read_dir(entry.path()).unwrap() {
            let path = input.unwrap().path();
            eprintln!("{}", path.display());
            target.run(&fs::read(&path).unwrap());
        }
    }
}
