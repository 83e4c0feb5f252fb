"""Records to batches on the devices.

`shards` reads records by position (`shard_files` the two formats, `wire` the examples), `records` says what training
asks of them, `order` deals them, `resident` and `stream` bring them to the devices behind the interface of `source`,
`choose` picks one of the two.
"""
