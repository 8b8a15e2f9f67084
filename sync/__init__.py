"""Entra to PBX: rules, planning, applying, runs, schedule."""
