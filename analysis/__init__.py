"""Code analyses: a repository is read, looked at in parts by analyzers, and what they claim is checked."""
