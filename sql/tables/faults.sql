-- What a stage could not deal with, though others of its batch it could: it is left out of the
-- stages until a time, which is later after each failure, and then tried again. There is no foreign
-- key: a row that cannot even be locked must be noted all the same.
create table dripdrop.faults (
  execution_id uuid not null,
  stage text not null,
  sqlstate text not null,
  message text not null,
  attempts int not null default 1,
  result jsonb,
  first_at timestamptz not null default dripdrop._now(),
  at timestamptz not null default dripdrop._now(),
  until timestamptz not null,
  together int,
  constraint faults_pkey primary key (execution_id),
  constraint faults_stage_is_known check (
    stage in ('decide', 'hooks', 'render', 'send', 'record', 'reconcile')
  )
);

comment on table dripdrop.faults is
  'Executions that a stage could not decide, render, send or record, and when they are tried '
  'again.';
comment on column dripdrop.faults.execution_id is 'The execution.';
comment on column dripdrop.faults.stage is
  'Where it failed: decide, hooks, render, send, record or reconcile.';
comment on column dripdrop.faults.sqlstate is 'The SQLSTATE of the error.';
comment on column dripdrop.faults.message is 'The error''s message, shortened.';
comment on column dripdrop.faults.attempts is 'How often it failed.';
comment on column dripdrop.faults.result is
  'What a sender reported, in the form of complete_sends(), where that could not be recorded.';
comment on column dripdrop.faults.first_at is 'When it first failed.';
comment on column dripdrop.faults.at is 'When it last failed.';
comment on column dripdrop.faults.until is 'When it is tried again.';
comment on column dripdrop.faults.together is
  'With how many it may be tried at once, after a statement ran out of time on more of them.';
