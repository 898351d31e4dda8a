"""Every path of the engine on a pretend GPU; see README.md."""
