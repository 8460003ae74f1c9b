-- What register_channel() and register_provider() take, and what describes a field to them.
do $$
begin
  perform dripdrop._field(
    'channel', 'channel', 'text', 'its name', pattern => '^[a-z][a-z0-9_]{0,30}$',
    hint => 'Use at most 31 lower-case letters, digits and "_", and begin with a letter.',
    required => true
  );
  perform dripdrop._field(
    'channel', 'address_form', 'text', 'how its addresses are compared',
    hint => 'Use mailbox, phone, name or none.', choices => '{mailbox,phone,name,none}',
    preset => '"none"'
  );
  perform dripdrop._field(
    'channel', 'recipient_key', 'text', 'which field of the data holds the address',
    hint => 'Name a field of the data, for example "phone".', minimum => 1, maximum => 200,
    nullable => true
  );
  perform dripdrop._field(
    'channel', 'own_headers', 'regex', 'headers that the message sets itself',
    hint => 'Write a regular expression, for example "^(host|content-.*)$".', nullable => true
  );
  perform dripdrop._field(
    'channel', 'retry_for', 'interval', 'how long a message is worth trying',
    hint => 'For example "4 hours".', preset => '"4 hours"'
  );
  perform dripdrop._field(
    'channel', 'unsubscribe', 'boolean', 'whether marketing messages carry a link to unsubscribe',
    hint => 'Write true or false.', preset => 'false'
  );
  perform dripdrop._field(
    'channel', 'topics', 'boolean', 'whether messages may be about a topic',
    hint => 'Write true or false.', preset => 'true'
  );
  perform dripdrop._field(
    'channel', 'own_hosts', 'boolean',
    'whether a message may name its own server, by the `url` of its template',
    hint => 'Write true or false.', preset => 'false'
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'provider', 'provider', 'text', 'its name', pattern => '^[a-z][a-z0-9_]{0,62}$',
    hint => 'Use at most 63 lower-case letters, digits and "_", and begin with a letter.',
    required => true
  );
  perform dripdrop._field(
    'provider', 'idempotent', 'boolean', 'whether it drops repeats of an idempotency key',
    hint => 'Write true or false.', preset => 'false'
  );
  perform dripdrop._field(
    'provider', 'batch_size', 'integer', 'how many messages one call takes',
    hint => 'Use 1 to 1000000 messages.', minimum => 1, maximum => 1000000, preset => '1'
  );
end
$$;

do $$
declare
  v_kind text;
  v_types text[];
begin
  foreach v_kind in array array['template_field', 'setting'] loop
    v_types := case v_kind
      when 'setting' then '{text,integer,boolean,object,any}'
      else '{text,integer,boolean,object,any,mailbox}'
    end;
    perform dripdrop._field(
      v_kind, 'field', 'text', 'its name', pattern => '^[a-z][a-z0-9_]{0,62}$',
      hint => 'Use at most 63 lower-case letters, digits and "_", and begin with a letter.',
      required => true
    );
    perform dripdrop._field(
      v_kind, 'type', 'text', 'what its value is',
      hint => 'Use ' || array_to_string(v_types, ', ') || '.', choices => v_types,
      preset => '"text"'
    );
    perform dripdrop._field(
      v_kind, 'description', 'text', 'what it is, for whoever reads of it',
      hint => 'Say in a sentence what it is.', minimum => 1, maximum => 500, required => true
    );
    perform dripdrop._field(
      v_kind, 'hint', 'text',
      'what to write, for whoever wrote something else; the description unless given',
      hint => 'Say in a sentence what to write.', minimum => 1, maximum => 500
    );
    perform dripdrop._field(
      v_kind, 'choices', 'list', 'the values that it may have', hint => 'Write a list of texts.',
      holds => 'choice', minimum => 1
    );
    perform dripdrop._field(
      v_kind, 'pattern', 'regex', 'what its value matches',
      hint => 'Write a regular expression that Postgres and the sender read alike.'
    );
    perform dripdrop._field(
      v_kind, 'required', 'boolean', 'whether it has to be there', hint => 'Write true or false.',
      preset => 'false'
    );
  end loop;
  perform dripdrop._field(
    'setting', 'secret', 'boolean', 'whether it stands in the sealed credentials only',
    hint => 'Write true or false.', preset => 'false'
  );
  perform dripdrop._field(
    'setting', 'destination', 'boolean', 'whether it says where the credentials go',
    hint => 'Write true or false.', preset => 'false'
  );
end
$$;
