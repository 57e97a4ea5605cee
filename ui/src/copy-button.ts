/** <copy-button>: copies a text, and says that it has. */

import { html, LitElement } from "lit";

const SAID = 2000; // milliseconds

class CopyButton extends LitElement {
  static properties = {
    text: { attribute: false },
    label: { attribute: false },
    name: { attribute: false },
    copied: { state: true },
  };

  declare text: string;
  declare label: string;
  declare name: string;
  declare copied: boolean;

  override createRenderRoot(): this {
    return this;
  }

  override render() {
    return html`<button type="button" class="small copy" aria-label=${this.name} @click=${this.copy}>
        ${this.copied ? "Copied" : this.label}</button
      ><span class="unseen" role="status">${this.copied ? "copied" : ""}</span>`;
  }

  private async copy(): Promise<void> {
    // Browsers have no clipboard for pages of http:// that are not of this machine.
    if (navigator.clipboard) await navigator.clipboard.writeText(this.text);
    else this.copySelected();
    this.copied = true;
    setTimeout(() => (this.copied = false), SAID);
  }

  private copySelected(): void {
    const area = document.createElement("textarea");
    area.value = this.text;
    this.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    this.querySelector("button")!.focus();
  }
}

customElements.define("copy-button", CopyButton);
