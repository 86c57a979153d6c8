"""What lies in an attached cluster of ours: settings, manifests (pure), how far an installation is (pure), removal."""
