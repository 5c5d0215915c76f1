"""Questions asked of finished runs: do the scores rank networks well, do baselines do better, which strategy wins."""
