//! PM2's files, as they are.

use hythe_testkit::home::Home;
use serde_json::Value;

#[test]
fn an_ecosystem_file_is_checked_with_every_mistake() {
    let home = Home::new();
    home.write(
        "ecosystem.config.js",
        "console.log('noise');\n\
         module.exports = async () => ({apps: [\n\
           {name: 'web', script: 'app.js', instances: 2, env: {PORT: 3000}, env_production: {NODE_ENV: 'production'}},\n\
           {script: './job.py', cron_restart: '0 3 * * *', autorestart: false}]});\n",
    );
    let said = home.ok(&["check", "ecosystem.config.js"]);
    let lines: Vec<&str> = said.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "  web: 2 instances of app.js, cluster mode",
            "  job: 1 instance of ./job.py, fork mode"
        ],
        "{said}"
    );

    home.write(
        "ecosystem.json",
        "{\n  apps: [{script: 'app.js', max_memory_restart: 'much',\n    instaces: 2, instances: {}}],\n}\n",
    );
    let refused = home.run(&["check", "ecosystem.json", "--json"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let problems: Vec<Value> = serde_json::from_str(&refused.stdout).unwrap();
    let of = |field: &str| {
        let problem = problems.iter().find(|problem| problem["field"] == field);
        let problem = problem.unwrap_or_else(|| panic!("{field}: {problems:#?}"));
        (problem["severity"].as_str(), problem["line"].as_u64())
    };
    assert_eq!(of("max_memory_restart"), (Some("error"), Some(2)));
    assert_eq!(of("instances"), (Some("error"), Some(3)));
    assert_eq!(of("instaces"), (Some("warning"), Some(3)));
}

#[test]
fn targets_of_deploy_are_checked_too() {
    let home = Home::new();
    home.write(
        "ecosystem.json",
        "{apps: [{script: 'a.js'}],\n deploy: {production: {host: 'h'}}}\n",
    );
    let refused = home.run(&["check", "ecosystem.json"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let told = "line 2, column 23: `deploy.production.path` is missing";
    assert!(refused.stderr.contains(told), "{refused:?}");
}
