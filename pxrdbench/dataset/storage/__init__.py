"""Where shards lie: folders and object stores."""
