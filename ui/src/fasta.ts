/** What people paste: FASTA of one record or more, or bare residues over any number of lines. */

export interface Pasted {
  id: string;
  sequence: string;
  /** Where in the text each letter of the sequence is. */
  places: number[];
}

/** The records of a text; white space within sequences is left out, nothing else is changed. */
export function pasted(text: string): Pasted[] {
  const records: Pasted[] = [];
  for (const line of text.matchAll(/[^\r\n]+/g)) {
    if (line[0].startsWith(">")) {
      const id = line[0].slice(1).trim().split(/\s+/)[0] || "unnamed";
      records.push({ id, sequence: "", places: [] });
      continue;
    }
    for (const letter of line[0].matchAll(/\S/g)) {
      if (!records.length) records.push({ id: "sequence", sequence: "", places: [] });
      const own = records[records.length - 1];
      own.sequence += letter[0];
      own.places.push(line.index + letter.index);
    }
  }
  return records;
}

/**
 * The text as the server takes it: in upper case, without the numbers of a GenBank record, without
 * stop codons at the ends of records. It is offered, and seen before it is sent.
 */
export function tidied(text: string): string {
  return text
    .replace(/^(?!>).*$/gm, (line) =>
      line.replace(/<mask>|\d|[a-z]/gi, (own) => {
        if (own.length > 1) return own.toLowerCase();
        return /\d/.test(own) ? "" : own.toUpperCase();
      }),
    )
    .replace(/\*+(?=\s*(?:\n>|$))/g, "");
}
