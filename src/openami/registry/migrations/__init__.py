"""Alembic migrations of a workspace's database, one file a station.

Revision ids are the numbers of the files and form one chain::

    0001 registry  <-  0002 mdm (exceptions, jobs)  <-  0003 billing (bills, bill_lines)  <-  0004 (audit)

A station owns its file and declares the same tables as `sqlalchemy.Table` on
`openami.registry.database.metadata` in its own package; constraint names come from that metadata's naming
convention, so leave them out here. Migrations use plain types (`UtcInstant` is
``sa.DateTime(timezone=True)``): they must keep meaning the same when the code has moved on. Until
the first release a station may edit its file; a released migration is never edited, the next one gets the
next number. The whole chain runs in one transaction, on SQLite too.
"""
