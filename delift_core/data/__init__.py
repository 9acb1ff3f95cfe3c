"""From a file to clean samples: `formats` (one record), `loading` (files, uploads, the hub), `quality` (mending)."""
