"""Ray: sessions, crews of workers, streams; the only room that imports it."""
