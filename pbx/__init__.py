"""The gateway to the Yeastar P-Series Open API: one client, shared token, typed errors, pacing."""
