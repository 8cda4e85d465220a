//! `ecosystem`, `init`: a file to begin with.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::words::InitWords;
use crate::failure::{Exit, Failure, Outcome};
use crate::terminal::Terminal;

const FILE: &str = "ecosystem.config.js";

const SIMPLE: &str = "module.exports = {
  apps: [
    { name: 'app', script: './app.js' },
  ],
};
";

const FULL: &str = "module.exports = {
  apps: [
    {
      name: 'app',
      script: './app.js',
      // 'max': as many as there are cores, behind one port.
      instances: 1,
      env: { NODE_ENV: 'development' },
      // pm2 start ecosystem.config.js --env production
      env_production: { NODE_ENV: 'production' },
    },
  ],

  // pm2 deploy production setup, then: pm2 deploy production
  deploy: {
    production: {
      user: 'deploy',
      host: ['server.example.com'],
      ref: 'origin/main',
      repo: 'git@example.com:team/app.git',
      path: '/srv/app',
      'post-deploy': 'npm ci && pm2 startOrReload ecosystem.config.js --env production',
    },
  },
};
";

pub(crate) fn write(out: &mut Terminal, words: &InitWords) -> Outcome {
    let path = std::env::current_dir()?.join(FILE);
    let text = if words.kind.is_some() { SIMPLE } else { FULL };
    write_file(&path, text, words.force)?;
    out.line(format!("File {} generated", path.display()))
}

/// What somebody wrote is not lost, unless that is asked for.
fn write_file(path: &Path, text: &str, force: bool) -> Outcome {
    let file = if force {
        File::create(path)
    } else {
        File::create_new(path)
    };
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            let message = format!("{} is there already", path.display());
            Failure::new(Exit::Failed, message).hint("`--force` replaces it")
        }
        _ => Failure::new(Exit::Failed, format!("write {}: {error}", path.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_replaced_only_when_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        write_file(&path, SIMPLE, false).unwrap();
        let refused = write_file(&path, FULL, false).unwrap_err();
        assert!(refused.message.ends_with("is there already"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), SIMPLE);
        write_file(&path, FULL, true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), FULL);
    }
}
