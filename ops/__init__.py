"""The operator's tool, `permitwait`, and the embedded server it brings along."""
